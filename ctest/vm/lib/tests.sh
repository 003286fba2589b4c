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

run_all_tests() {
    local boot status worst=0 running
    rm -f "$tests/results.txt" "$tests/running" "$tests"/*.log
    for ((boot = 1; boot <= MAX_BOOTS; boot++)); do
        status=0
        run_guest || status=$?
        [ "$status" -le "$worst" ] || worst=$status
        if [ -e "$tests/running" ]; then
            running=$(cat "$tests/running")
            rm -f "$tests/running"
            echo "$running died 0" >>"$tests/results.txt"
            { echo "*** the guest went down during this test (status $status); its console:"
              tail -n 200 "$log"; } >>"$tests/$running.log"
            say "not ok $running: died"
        fi
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
