#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: test-bpf.sh KERNEL...
# The bpf backend on stock kernels (a series, or newest), in a guest for each:
# kdregd in each mode, under it the library's own tests and those of ctest/bpf,
# and afterwards nothing of it in the kernel.
#
#   BPF_SET=short|all            a little of what finds the most, or all
#   BPF_MODES="notifier flush"   the modes
#   BPF_TESTS=<regex>            of the tests, these (mode and name: flush-25-storm);
#                                those that come in turn all run where there is
#                                one kernel
#   BPF_CHANGES=10000            how many changes the hostile test makes in each
#                                mode; of the short set half as many
#   BPF_ALL_WAYS=1               and in each way that the kernel has to preempt
#   BPF_MATRIX_EVERY=<n>         one cell of the matrix in so many (1: all)
#   BPF_CYCLES=<n>               of opening and closing, and of forks that open
#   BPF_CELLS=all                of the harmless table, every state and not one alone
#   BPF_CLIENTS=256              how many clients there are at once
. "$(dirname "$0")/env.sh"
subject="the bpf backend"
work=$target/bpf-tests
. "$(dirname "$0")/bpf-guests.sh"
set -eu

set=${BPF_SET:-all}
clients=${BPF_CLIENTS:-256}
case $set in
short) every=${BPF_MATRIX_EVERY:-128} cycles=${BPF_CYCLES:-10} seconds=2 changes=${BPF_CHANGES:-5000} ;;
all) every=${BPF_MATRIX_EVERY:-8} cycles=${BPF_CYCLES:-100} seconds=5 changes=${BPF_CHANGES:-10000} ;;
*) die "BPF_SET is short or all" ;;
esac
guests_can_run
[ -x "$build/bpf/bpf_changes" ] || die "the C tests are not built: make test-bpf does"
begin_work

# short and long NAME SECONDS COMMAND...: a test that runs under each mode's
# kdregd, in any case or when all are wanted. turn N NAME...: on one kernel in
# three otherwise, in the other mode on the next; turn N:MODE, of what takes minutes,
# in that mode alone. The seconds are for what hangs.
list=$work/list
short() { printf -- '- %s\n' "$*" >>"$list"; }
long() { [ "$set" != all ] || short "$@"; }
turn() { if [ "$set" = all ]; then shift; short "$@"; else printf '%s\n' "$*" >>"$list"; fi; }
long 05-check 900 "$daemon" --check
long 10-changes 1800 "$build/bpf/bpf_changes" --changes $((changes / 2))
short 15-hostile "$((1800 + changes / 20))" "$root/ctest/bpf/hostile" ${BPF_ALL_WAYS:+--all} "$build/bpf/bpf_changes" --hostile --changes "$changes"
short 20-matrix 3600 "$build/matrix/matrix" --every "$every" bpf
short 25-storm 1800 "$build/storm/storm" --backend bpf --seconds $seconds
short 26-storm-evict-fork 1800 "$build/storm/storm" --backend bpf --seconds $seconds --evict --fork
turn 0 30-foreign 1800 "$build/foreign"
turn 1 31-forks 1800 "$build/forks"
turn 2 32-lifecycle 1800 "$build/lifecycle" --cycles "$cycles" "$build/libtenant_one.so" "$build/libtenant_two.so"
turn 0 36-ahead 900 "$build/ahead"
turn 1 37-priorities 900 "$build/priorities"
turn 2 38-flushes 900 "$build/flushes"
long 39-aheadends 900 "$build/aheadends"
turn 0 43-provider 900 "$build/examples/example_provider"
for name in references answers asked batch told groups; do
    long "44-$name" 900 "$build/$name"
done
long 33-discards 900 "$build/discards"
long 34-underway 900 "$build/underway"
long 35-events 900 "$build/events"
long 40-harmless 6000 "$root/ctest/bpf/cells" "$build/harmless/kdreg_harmless" "$root/tools/kdreg_harmless/kinds.c" \
    $([ "${BPF_CELLS:-part}" = all ] || echo "--state part cached")
long 41-remaps 900 "$build/remaps"
long 42-ownwatch 900 "$build/ownwatch"
short 50-phases 1800 "$build/bpf/bpf_phases" --rounds $([ "$set" = all ] && echo 5 || echo 1)
long 55-crowd "$((900 + clients / 2))" "$build/bpf/bpf_crowd" --clients "$clients"
long 56-refused 900 "$build/bpf/bpf_crowd" --clients 2048 --refused 1000
turn 1:flush 60-images 1800 "$root/ctest/bpf/images" "$build/bpf/bpf_changes" --changes 10
# These come last: they end that kdregd, or the guard.
long 80-halfway 1800 "$root/ctest/bpf/halfway"
turn 1 85-wakes 1800 "$build/bpf/bpf_wakes" "$root/ctest/bpf/daemon" ftrace-on
turn 2:flush 86-begins 1800 "$root/ctest/bpf/begins" $([ "$set" = all ] && echo 4 || echo 1) "$build/bpf/bpf_changes" --changes 10
turn 1:flush 87-held 1800 "$root/ctest/bpf/held" "$build/bpf/bpf_changes" --changes 10
turn 2:notifier 88-switched 1800 "$root/ctest/bpf/switched" "$build/bpf/bpf_changes" --changes 10
turn 1:notifier 89-late 1800 "$root/ctest/bpf/late" "$build/bpf/bpf_late" "$build/bpf/bpf_changes" --changes 10

# What a guest runs, in the order of its names: mode by mode.
write_tests() {
    local dir=$1 kernel=$2 mode prefix number=0 turn name seconds command
    mkdir -p "$dir"
    for mode in $modes; do
        number=$((number + 1))
        prefix=$dir/$number-$mode
        under_kdregd "$prefix" "$mode" 900
        while read -r turn name seconds command; do
            [[ $mode-$name =~ $only ]] || continue
            [ "$turn" = - ] || [ "$kernels" = 1 ] || [[ $(((kernel + number) % 3)):$mode: = "$turn":* ]] || continue
            when_offered "$mode" "exec $command" | sed "s/part cached/'&'/" | script "$prefix-$name" "$seconds"
        done <"$list"
        [ "$set" = all ] && [[ $mode-95-upheavals =~ $only ]] || continue
        when_offered "$mode" "exec '$build/bpf/bpf_upheavals' '$root/ctest/bpf/daemon'" | script "$prefix-95-upheavals" 3600
    done
}

# one KERNEL NUMBER: a guest, and what came of it.
one() {
    local kernel=$1 dir=$work/$1
    echo "kernel $kernel:"
    if ! stock "$kernel"; then
        cat "$work/$kernel.words"
        : >"$work/$kernel.missing"
        return
    fi
    write_tests "$dir" "$2"
    guest "$kernel" --swap 128 --hugepages 16
    [ ! -s "$dir/results.txt" ] || grep -qv ' skipped ' "$dir/results.txt" || : >"$work/$kernel.missing"
}

# A guest leaves half of two processors idle: the kernels' are up together, and
# their reports come one after the other.
kernels=$# number=0
for kernel; do
    { one "$kernel" $number; exit $failures; } >"$work/$kernel.report" 2>&1 &
    guests="${guests:-} $kernel:$!"
    number=$((number + 1))
done
missing=
for guest in $guests; do
    wait "${guest##*:}" || failures=$((failures + $?))
    cat "$work/${guest%:*}.report"
    [ ! -e "$work/${guest%:*}.missing" ] || missing="$missing ${guest%:*}"
done
[ -z "$missing" ] || [ $failures -gt 0 ] || not_run "on$missing: no such kernel is to be had here, or no mode works on it"
[ -z "$missing" ] || echo "not run on$missing either"
finish
