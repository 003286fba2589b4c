# SPDX-License-Identifier: MIT OR Apache-2.0
# Host side of --tests: boot, and boot again for what is left when a guest did
# not survive a test. Sourced.

# Names of the tests that have no result yet.
tests_left() {
    local file
    for file in "$tests"/*; do
        [ -f "$file" ] && [ -x "$file" ] && [[ ${file##*/} =~ $only ]] || continue
        grep -qs "^${file##*/} " "$tests/results.txt" || echo "${file##*/}"
    done
}

# Whether a test has come to another end than it should.
any_failed() { [ -s "$tests/results.txt" ] && grep -qvE ' (ok|skipped) ' "$tests/results.txt"; }

run_all_tests() {
    local boot status worst=0 running lost=
    rm -f "$tests/results.txt" "$tests/running" "$tests/lost" "$tests"/*.log
    for ((boot = 1; boot <= MAX_BOOTS; boot++)); do
        status=0
        run_guest || status=$?
        if [ -e "$tests/running" ]; then
            running=$(cat "$tests/running")
            rm -f "$tests/running"
            # What comes later may build on what came before. What failed is not forgotten.
            if [ "$boot" -lt "$MAX_BOOTS" ] && [ "$worst" = 0 ] && ! any_failed && emulator_lost_it; then
                say "the emulator lost the guest during $running, by an int3 that was gone: all tests again"
                cp "$log" "$log.lost-$boot"
                lost="$lost $running"
                rm -f "$tests/results.txt" "$tests"/*.log
                running=
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
    # Where it is shown even if all went well.
    [ -z "$lost" ] || echo "| the emulator lost the guest during$lost, and all began anew" >>"$tests/lost"
    return "$worst"
}
