# SPDX-License-Identifier: MIT OR Apache-2.0
# What stages.sh makes of stages that pass, fail, skip themselves and cannot be
# run: with a make that is made up.
. "$(dirname "$0")/env.sh"
set -eu

work=$target/stages
rm -rf "$work"
mkdir -p "$work/bin"
cat >"$work/bin/make" <<'M'
#!/bin/sh
shift
case $1 in
good) echo fine ;;
bad) echo "NOT RUN: is no excuse in the middle: NOT RUN: x" | sed 's/^/  /'; exit 2 ;;
skipped) echo "SKIPPED: no device" ;;
blocked*) echo "NOT RUN: no kernel"; exit 2 ;;
talks) echo "NOT RUN: only said" ;;
esac
M
chmod +x "$work/bin/make"

# run STAGE...: what stages.sh prints, and its status
run() {
    status=0
    PATH=$work/bin:$PATH STAGES_LOGS=$work/logs AHEAD='' sh scripts/stages.sh "$@" >"$work/output" 2>&1 || status=$?
}
# ends STATUS LINE...: these are the last lines
ends() {
    checking "$what"
    want=$1
    shift
    printf '%s\n' "$@" >"$work/wanted"
    tail -n $# "$work/output" >"$work/last"
    if [ "$status" = "$want" ] && cmp -s "$work/wanted" "$work/last"; then
        pass
    else
        fail "status $status, wanted $want" "$(diff "$work/wanted" "$work/last")"
    fi
}

what="all passed"
run good talks
ends 0 '' '2 passed, 0 failed'
what="one failed"
run good bad
ends 1 '' '1 passed, 1 failed'
what="one skipped"
run good skipped
ends 0 '' '1 passed, 0 failed, 1 skipped'
what="two could not be run: said at the end, the rest goes on"
run blocked1 good skipped blocked2 good
ends 0 '' '!!! NOT RUN, so nothing was learned of it: blocked1 blocked2' '!!! no kernel' '' \
    '2 passed, 0 failed, 3 skipped'
what="a failure beside it is one"
run blocked1 bad
ends 1 '' '!!! NOT RUN, so nothing was learned of it: blocked1' '!!! no kernel' '' '0 passed, 1 failed, 1 skipped'

what="what can be spared, in time"
SPARE='talks other' SPARE_AFTER=100 run good talks
ends 0 '' '2 passed, 0 failed'
what="and late"
SPARE='talks other' SPARE_AFTER=0 run talks good
ends 0 '' '!!! NOT RUN, so nothing was learned of it: talks' '!!! the machine is slow; by hand: make and the name of the stage' '' \
    '1 passed, 0 failed, 1 skipped'

# Patterns that choose among a stage's tests: one that names none is an error, and nothing runs.
# chosen VARIABLE SCRIPT PATTERNS WORDS
chosen() {
    checking "$1='$3'"
    output=$(env LIBFABRIC_SOURCE= "$1=$3" bash "scripts/$2.sh" 2>&1) && status=0 || status=$?
    case $status,$output in
    1,*"$4"*) pass ;;
    *) fail "status $status, and this without \"$4\":" "$output" ;;
    esac
}
chosen PEERS_TESTS test-peers '99-*' "'99-*' names no test; there are: 10-pyverbs"
chosen PEERS_TESTS test-peers '10-* 99-*' "'99-*' names no test"
chosen PEERS_TESTS test-peers '45-*' 'LIBFABRIC_SOURCE=<directory of its source>'
chosen FABRIC_TESTS test-fabric '99-*' "'99-*' names no test; there are: 10-refusals"
finish
