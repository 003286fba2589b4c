# SPDX-License-Identifier: MIT OR Apache-2.0
# What came of the run: console log, kernel complaints, exit status. Sourced.

show_log() {
    say "console log (in full: $log):"
    # Without control sequences, kernel threads and scheduler statistics.
    tr -d '\r' <"$run/console" | sed $'s/\x1b\\[[0-9;?]*[a-zA-Z]//g' | awk '
        / task:/ { skip = / ppid:2 / || / pid:2 / }
        /Sched Debug Version/ { skip = 1 }
        /Showing all locks|NMI backtrace for|Workqueue:.*busy|Showing busy workqueues|\] (BUG|WARNING|Oops|INFO|reboot|Kernel)/ { skip = 0 }
        !skip' >&2
    say "end of console log"
}

# Did it go down, or hang, before the run's own part began? An emulator that
# refused to start has said why, and would again.
died_booting() {
    [ -z "$interactive" ] && [ ! -e "$run/begun" ] && [ ! -s "$run/status" ] || return 1
    [ -n "$timed_out" ] || [ -s "$run/console" ] || [ ! -s "$run/qemu-errors" ]
}

judge() {
    [ ! -s "$run/qemu-errors" ] || sed 's/^/vm: qemu: /' "$run/qemu-errors" >&2
    touch "$run/console"
    # The ring buffer, saved at the end, has what the console's level left out.
    { tr -d '\r' <"$run/console"
      [ ! -s "$run/dmesg" ] || { echo "--- kernel log at the end ---"; cat "$run/dmesg"; }
    } >"$log"
    [ -z "$interactive" ] || return 0
    [ -z "$verbose" ] || show_log
    if [ -n "$timed_out" ]; then
        [ -n "$verbose" ] || show_log
        if [ -e "$run/begun" ]; then
            say "timed out after $timeout s (--timeout), the guest was cut off"
        else
            say "the guest had not come up after $boot_limit s (--boot-timeout), it was cut off"
        fi
        return 124
    fi
    if [ ! -s "$run/status" ]; then
        [ -n "$verbose" ] || show_log
        if [ ! -s "$run/console" ]; then
            say "the guest did not start"
            return 125
        fi
        say "the guest died before the command ended"
        return 123
    fi
    local status bad
    status=$(cat "$run/status")
    # What it found when all was over.
    [ ! -s "$run/ending" ] || sed 's/^/vm: /' "$run/ending" >&2
    if [ -z "$allow_dirty" ]; then
        # The console and the ring buffer largely say the same.
        bad=$(cat "$run/complaints" 2>/dev/null || true
            sed 1d "$VM/guest/bad-lines" | grep -Ef - "$log" | awk '!seen[$0]++' | head -n 40 || true)
        if [ -n "$bad" ]; then
            [ -n "$verbose" ] || show_log
            say "the kernel complained:"
            printf '%s\n' "$bad" >&2
            [ "$status" != 0 ] || status=122
        fi
    fi
    return "$status"
}
