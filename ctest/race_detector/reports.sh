# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: reports.sh PROGRAM
# What ThreadSanitizer says of an instrumented program that uses the library: of a race of its own that there is one, of the rest nothing.
set -eu
program=$1
export TSAN_OPTIONS="halt_on_error=0 exitcode=66 report_bugs=1"
if ! "$program" nothing >/dev/null 2>&1; then
    echo "skipped: programs with -fsanitize=thread do not run here"
    exit 77
fi
failed=0
# It still sees what is there to be seen, beside calls of the library too.
status=0
output=$("$program" racy 2>&1) || status=$?
if [ $status != 66 ] || ! echo "$output" | grep -q 'data race.* in race'; then
    echo "FAILED: a race of the program's own is not reported (status $status)"
    echo "$output" | tail -n 40
    failed=1
fi
for what in handover cache reaper monitor; do
    echo "  checks: $what"
    status=0
    output=$("$program" "$what" 2>&1) || status=$?
    if [ $status != 0 ]; then
        echo "FAILED: $what: status $status"
        echo "$output" | head -n 80
        failed=1
    elif ! echo "$output" | grep -q '^done'; then
        echo "$output"
        failed=1
    fi
done
exit $failed
