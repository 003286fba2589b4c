#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: test-bpf.sh KERNEL...
# The bpf backend on stock kernels (a series, or newest), in a guest for each:
# kdregd in each mode, under it the library's own tests and those of ctest/bpf,
# and afterwards nothing of it in the kernel.
#
#   BPF_MODES="notifier flush"   the modes
#   BPF_TESTS=<regex>            of the tests below, these
#   BPF_CHANGES=10000            how many changes the hostile test makes
#   BPF_ALL_WAYS=1               and in each way that the kernel has to preempt
#   BPF_MATRIX_EVERY=<n>         one cell of the matrix in so many (1: all)
#   BPF_CLIENTS=256              how many clients there are at once
. "$(dirname "$0")/env.sh"
set -eu

modes=${BPF_MODES:-notifier flush}
only=${BPF_TESTS:-.}
changes=${BPF_CHANGES:-10000}
clients=${BPF_CLIENTS:-256}
every=${BPF_MATRIX_EVERY:-8}
work=$target/bpf-tests
build=$target/ctest
daemon=$dist/kdregd
[ "$(id -u)" = 0 ] || skip "the guest's root is the Debian tree of make kernel-tree, which only root can enter"
[ -x "$daemon" ] || skip "kdregd is left out (make kdregd says why)"
[ -x "$build/bpf/bpf_changes" ] || die "the C tests are not built: make test-bpf does"
PATH=$PATH:/usr/sbin
command -v bpftool >/dev/null || skip "bpftool is not installed (Debian: bpftool)"

# test NAME SECONDS COMMAND...: one that runs under each mode's kdregd.
list=$work/list
rm -rf "$work"
mkdir -p "$work"
test() { printf '%s\n' "$*" >>"$list"; }
test 05-check 120 "$daemon" --check
test 10-changes 900 "$build/bpf/bpf_changes" --changes $((changes / 2))
test 15-hostile "$((1800 + changes / 20))" "$root/ctest/bpf/hostile" ${BPF_ALL_WAYS:+--all} "$build/bpf/bpf_changes" --hostile --changes "$changes"
test 20-matrix 3600 "$build/matrix/matrix" --every "$every" bpf
test 25-storm 600 "$build/storm/storm" --backend bpf --seconds 5
test 26-storm-evict-fork 600 "$build/storm/storm" --backend bpf --seconds 5 --evict --fork
test 30-foreign 900 "$build/foreign"
test 31-forks 900 "$build/forks"
test 32-lifecycle 900 "$build/lifecycle" "$build/libtenant_one.so" "$build/libtenant_two.so"
test 33-discards 900 "$build/discards"
test 34-underway 900 "$build/underway"
test 35-events 900 "$build/events"
test 40-harmless 1800 "$build/harmless/kdreg_harmless" --kind anonymous --state "part cached"
test 41-remaps 900 "$build/remaps"
test 42-ownwatch 900 "$build/ownwatch"
test 50-phases 900 "$build/bpf/bpf_phases"
test 55-crowd 900 "$build/bpf/bpf_crowd" --clients "$clients"
test 56-refused 900 "$build/bpf/bpf_crowd" --clients 2048 --refused 1000

# script DIRECTORY NAME SECONDS: what comes on standard input.
script() {
    { printf '#!/bin/sh\n# timeout: %s\n' "$3"; cat; } >"$1/$2"
    chmod +x "$1/$2"
}

# The guest's tree has none.
cp "$(command -v bpftool)" "$work/bpftool"

control() { echo "PATH=$work:\$PATH KDREGD='$daemon' KDREGD_MODE=$1 exec '$root/ctest/bpf/daemon' $2"; }

# What a guest runs, in the order of its names: mode by mode.
write_tests() {
    local dir=$1 mode number=0 name seconds command
    mkdir -p "$dir"
    for mode in $modes; do
        number=$((number + 1))
        control "$mode" start | script "$dir" "$number-$mode-00-start" 300
        while read -r name seconds command; do
            [[ $mode-$name =~ $only ]] || continue
            printf 'export KDREG_BACKEND=bpf\nexec %s\n' "$command" |
                sed "s/part cached/'&'/" | script "$dir" "$number-$mode-$name" "$seconds"
        done <"$list"
        control "$mode" uninstall | script "$dir" "$number-$mode-90-uninstall" 120
        control "$mode" left | script "$dir" "$number-$mode-91-left" 60
    done
    [[ upheavals =~ $only ]] || return 0
    { echo "export KDREG_BACKEND=bpf KDREGD='$daemon' PATH=$work:\$PATH"
      echo "exec '$build/bpf/bpf_upheavals' '$root/ctest/bpf/daemon'"; } |
        script "$dir" 9-upheavals 1800
}

# one KERNEL: a guest, and what came of it.
one() {
    local kernel=$1 dir=$work/$1 start=$SECONDS status=0 name result seconds
    echo "kernel $kernel:"
    if ! kernel/tree/stock-kernel "$kernel" >"$work/$kernel.kernel" 2>"$work/$kernel.words"; then
        cat "$work/$kernel.words"
        missing="$missing $kernel"
        return
    fi
    write_tests "$dir"
    ctest/vm/run --kernel-package "$kernel" --dev-kvm --memory 3072 --swap 128 --hugepages 16 \
        --share "$target" --timeout 7200 --tests "$dir" >"$work/$kernel.log" 2>&1 || status=$?
    if [ ! -s "$dir/results.txt" ]; then
        fail "no test ran" "$(tail -n 30 "$work/$kernel.log")"
        return
    fi
    while read -r name result seconds; do
        checking "$(cut -d' ' -f2 "$work/$kernel.kernel") $name"
        case $result in
        ok) pass "$seconds s" ;;
        skipped) echo "skipped: $(tail -n 1 "$dir/$name.log")" ;;
        *) fail "$result, after $seconds s; the end of ${dir#"$root/"}/$name.log:" "$(tail -n 25 "$dir/$name.log")" ;;
        esac
        sed -n 's/^in all: /      | /p' "$dir/$name.log"
    done <"$dir/results.txt"
    [ $status = 0 ] || [ $failures -gt 0 ] ||
        fail "the guest ended with status $status" "$(tail -n 20 "$work/$kernel.log")"
    echo "  the guest took $((SECONDS - start)) s"
}

missing=
for kernel; do one "$kernel"; done
if [ -n "$missing" ]; then
    # Loud, and no failure of what is tested: stages.sh knows the words.
    echo "NOT RUN: the bpf backend on$missing: no such kernel is to be had here"
    exit 1
fi
finish
