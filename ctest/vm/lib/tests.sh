# SPDX-License-Identifier: MIT OR Apache-2.0
# Host side of --tests: boot, and boot again for what is left when a guest did
# not survive a test. Sourced.

MAX_BOOTS=4

# Names of the tests that have no result yet.
tests_left() {
    local file
    for file in "$tests"/*; do
        [ -f "$file" ] && [ -x "$file" ] && [[ ${file##*/} =~ $only ]] || continue
        grep -qs "^${file##*/} " "$tests/results.txt" || echo "${file##*/}"
    done
}

# Whether the emulator lost the guest, and not the test: it executed an int3 by which the
# kernel had patched an instruction, and which another processor had replaced already, so
# that the kernel knows of none there. QEMU before 8.1 may keep what it translated while
# that was being written (lore.kernel.org: "qemu-x86_64 booting with 8.0.0 stil see int3:").
# Processors have no such fault. The line is the kernel's own, and nothing of ours executes one.
emulator_lost_it() {
    [ "$accel" = tcg ] && grep -qE '^\[ *[0-9.]+\] (Oops: )?int3: 0000 \[#1\]' "$log"
}

run_all_tests() {
    local boot status worst=0 running
    rm -f "$tests/results.txt" "$tests/running" "$tests"/*.log
    for ((boot = 1; boot <= MAX_BOOTS; boot++)); do
        status=0
        run_guest || status=$?
        if [ -e "$tests/running" ]; then
            running=$(cat "$tests/running")
            rm -f "$tests/running"
            # What comes later may build on what came before.
            if [ "$boot" -lt "$MAX_BOOTS" ] && emulator_lost_it; then
                say "the emulator lost the guest during $running, by an int3 that was gone: all tests again"
                rm -f "$tests/results.txt" "$tests"/*.log
                worst=0
                continue
            fi
            echo "$running died 0" >>"$tests/results.txt"
            { echo "*** the guest went down during this test (status $status); its console:"
              tail -n 200 "$log"; } >>"$tests/$running.log"
            say "not ok $running: died"
        fi
        [ "$status" -le "$worst" ] || worst=$status
        # Without a test to blame, another boot would end the same way.
        [ -n "$(tests_left)" ] && [ -n "${running:-}" ] || grep -qs ' stuck ' "$tests/results.txt" || break
        [ -n "$(tests_left)" ] || break
        running=
        [ "$boot" = "$MAX_BOOTS" ] || say "booting again for the remaining tests"
    done
    local name
    for name in $(tests_left); do
        echo "$name notrun 0" >>"$tests/results.txt"
        say "not ok $name: notrun"
        [ "$worst" != 0 ] || worst=1
    done
    return "$worst"
}
