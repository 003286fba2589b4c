# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: stages.sh STAGE...
# Makes each stage in turn, whether or not the one before passed, and ends with
# a table. A stage that prints a line "SKIPPED: why" counts as skipped. So does
# one that fails with a line "NOT RUN: why", for want of something that is not to
# be had here, such as a kernel: these are named once more at the end.
#
# SPARE=STAGES are not begun when SPARE_AFTER seconds have passed, and count as such
# a stage: they are tests of other programs beside the library, and on a machine
# that is slow today the rest comes first.
#
# AHEAD=TARGETS are begun once `prerequisites` is over and go on beside the
# stages that come before those that need them: waiting for downloads takes no
# processor, and builds do not always have work for all. Who needs one makes it
# again, waits for the one under way, and tells what went wrong.
. "$(dirname "$0")/env.sh"

logs=${STAGES_LOGS:-$target/test}
table=$logs/summary
mkdir -p "$logs"
: >"$table"
passed=0 failed=0 skipped=0 number=0 notrun=
start=$(date +%s)

for stage; do
    number=$((number + 1))
    log=$logs/$stage.log
    echo
    echo "=== [$number/$#] $stage"
    since=$(date +%s)
    case " ${SPARE:-} " in
    *" $stage "*) late=$((since - start >= ${SPARE_AFTER:-3300})) ;;
    *) late=0 ;;
    esac
    if [ $late = 1 ]; then
        skipped=$((skipped + 1))
        notrun="$notrun $stage"
        printf '%-16s %-8s %5d s  %s\n' "$stage" 'NOT RUN' 0 'the machine is slow; by hand: make and the name of the stage' >>"$table"
        tail -n 1 "$table"
        continue
    fi
    # The status of make, not of tee.
    { make --no-print-directory "$stage" 2>&1; echo $? >"$log.status"; } | tee "$log"
    seconds=$(($(date +%s) - since))
    if [ "$(cat "$log.status")" != 0 ] && why=$(grep -m 1 '^NOT RUN: ' "$log"); then
        skipped=$((skipped + 1))
        result='NOT RUN'
        note=${why#NOT RUN: }
        notrun="$notrun $stage"
    elif [ "$(cat "$log.status")" != 0 ]; then
        failed=$((failed + 1))
        result=FAILED
        note="see target/test/$stage.log; alone: make $stage"
    elif note=$(grep '^SKIPPED: ' "$log"); then
        skipped=$((skipped + 1))
        result=skipped
        note=${note#SKIPPED: }
    else
        passed=$((passed + 1))
        result=passed
        note=
    fi
    rm -f "$log.status"
    printf '%-16s %-8s %5d s  %s\n' "$stage" "$result" $seconds "$note" >>"$table"
    if [ "$stage" = prerequisites ] && [ -n "${AHEAD:-}" ]; then
        echo "(meanwhile: $AHEAD, see target/test/ahead.log)"
        # shellcheck disable=SC2086 # targets
        nice make -k -j 2 --no-print-directory $AHEAD >"$logs/ahead.log" 2>&1 &
        ahead=$!
        trap 'kill $ahead 2>/dev/null; exit 130' INT TERM
    fi
done
wait

echo
echo "=== summary, $(($(date +%s) - start)) s"
cat "$table"
echo
# Who sees no more than the end of this sees why.
for stage in $(awk '$2 == "FAILED" { print $1 }' "$table"); do
    echo "--- $stage"
    { grep -a -n -i -E 'fail|error' "$logs/$stage.log" | grep -v -e ' ok$' -e '-Werror' -e '[^0-9]0 failed' || tail -n 20 "$logs/$stage.log"; } |
        cut -c 1-240 | tail -n 20
    echo
done
if [ -n "$notrun" ]; then
    echo "!!! NOT RUN, so nothing was learned of it:$notrun"
    sed -n 's/^[^ ]* *NOT RUN *[0-9]* s  /!!! /p' "$table" | sort -u
    echo
fi
if [ $skipped -gt 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ $failed -eq 0 ]
