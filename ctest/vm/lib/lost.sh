# SPDX-License-Identifier: MIT OR Apache-2.0
# Host side: guests that are lost by a fault of the emulator, and a command in such
# a guest. What becomes of tests there is in tests.sh. Sourced.

MAX_BOOTS=4

# Whether the emulator lost the guest, and not the test: it executed an int3 by which the
# kernel had patched an instruction, and which another processor had replaced already, so
# that the kernel knows of none there: the byte before the marked one is another. QEMU before
# 8.1 may keep what it translated while that was being written (lore.kernel.org: "qemu-x86_64
# booting with 8.0.0 stil see int3:"). Processors have no such fault.
emulator_lost_it() {
    [ "$accel" = tcg ] && emulator_is_old &&
        grep -qE '^\[ *[0-9.]+\] (Oops: )?int3: 0000 \[#1\]' "$log" &&
        grep -m 1 -A 12 -E 'int3: 0000 \[#1\]' "$log" | grep -E '\] Code: .*<[0-9a-f]{2}>' | grep -qvE ' cc <'
}

emulator_is_old() {
    local version
    version=$(qemu-system-x86_64 --version | sed -n '1s/.*version \([0-9]*\.[0-9]*\).*/\1/p')
    [ -n "$version" ] && [ "$(printf '%s\n8.1\n' "$version" | sort -V | head -n 1)" != 8.1 ]
}

# Runs the command, and again where it was not its fault that the guest died.
run_command() {
    local boot status
    for ((boot = 1; ; boot++)); do
        status=0
        run_guest || status=$?
        [ "$status" = 123 ] && [ "$boot" -lt "$MAX_BOOTS" ] && emulator_lost_it || return "$status"
        say "the emulator lost the guest, by an int3 that was gone: the command again"
        cp "$log" "$log.lost-$boot"
    done
}
