#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: test-bpf-consumers.sh KERNEL...
# What registers memory with a network card, on the bpf backend, in a guest for
# each kernel (a series, or newest), over its soft-RoCE: the verbs adaptor and
# preload, unmodified programs, kdreg_bw, libfabric both ways, Open MPI. In each
# mode of kdregd; and in mode notifier once more without /dev/kvm, where the
# kernel's soft-RoCE registers memory on demand, by which clients subscribe then.
#
#   BPF_MODES="notifier flush"   the modes
#   BPF_TESTS=<regex>            of the tests, these (flush-verbs-adaptor)
. "$(dirname "$0")/env.sh"
set -eu

modes=${BPF_MODES:-notifier flush}
only=${BPF_TESTS:-.}
work=$target/bpf-consumers
build=$target/ctest
verbs=$build/verbs
daemon=$dist/kdregd

not_run() {
    echo "NOT RUN: verbs and libfabric on the bpf backend: $1"
    exit 1
}
[ "$(id -u)" = 0 ] || not_run "the guest's root is the Debian tree of make kernel-tree, which only root can enter"
[ -x "$daemon" ] || not_run "kdregd is left out; missing: $(sh "$root/scripts/kdregd-lacks.sh")"
[ -x "$verbs/verbs_adaptor" ] || die "the C tests of verbs are not built: that takes <infiniband/verbs.h>"
PATH=$PATH:/usr/sbin
command -v bpftool >/dev/null || not_run "bpftool is not installed (Debian: bpftool)"

echo "making what runs in the guest ..."
rm -rf "$work"
mkdir -p "$work/fabric/tests"
ctest/fabric/build-libfabric "$target/libfabric"
ctest/fabric/build-programs "$target/prefix" "$work/fabric" "$target/libfabric/prefix"
cp ctest/fabric/guest.sh "$work/fabric/"
# Where guest.sh looks for it.
ln -s "$target/libfabric" "$work/libfabric"
cp "$(command -v bpftool)" "$work/bpftool"

# as NAME SECONDS COMMAND...: a test under each mode's kdregd, in this order.
tests=10
as() { printf '%s-%s\n' $((tests += 1)) "$*" >>"$work/list"; }
preload="env LD_PRELOAD=$target/prefix/lib/libkdreg-verbs.so"
as verbs-adaptor 300 "$verbs/verbs_adaptor"
as verbs-refused 300 "$verbs/verbs_refused"
as verbs-transfers 400 "$verbs/verbs_transfers"
as verbs-example 300 "$build/examples/example_verbs"
as verbs-preload 300 "$preload" "$verbs/verbs_preloaded"
as verbs-preload-freed 300 "$preload" "$verbs/verbs_freed" benefit
as verbs-preload-fetched 300 "$preload" "$verbs/verbs_fetched"
as verbs-preload-transfers 900 "$root/ctest/verbs/transfers.sh" "${preload#*=}" "$verbs/verbs_transfers"
as verbs-programs 900 "$root/ctest/verbs/programs.sh" "${preload#*=}"
for where in device namespaces; do
    as "bw-pair-$where" 400 "$root/ctest/bw/pair.sh" "$build/bw/kdreg_bw" $where bpf
done
# Those that are about libkdreg, and not about libfabric's own monitors.
for test in 10-refusals 20-preload 30-import 35-example 55-fabtests 60-openmpi; do
    install -m 755 "ctest/fabric/tests/$test" "$work/fabric/tests/"
    as "fabric-$test" 2700 "$work/fabric/tests/$test"
done

# script FILE SECONDS: what comes on standard input.
script() {
    { printf '#!/bin/bash\n# timeout: %s\n' "$2"; cat; } >"$1"
    chmod +x "$1"
}

# write_mode DIRECTORY NUMBER NAME MODE [BEFORE]: what a guest runs under one kdregd.
write_mode() {
    local dir=$1 prefix=$1/$2-$3 name seconds command environment
    environment="export PATH=$work:\$PATH KDREGD='$daemon' KDREGD_MODE=$4"
    control() { printf '%s\n%s\nexec %s\n' "$environment" "${3:-}" "'$root/ctest/bpf/daemon' $2" | script "$prefix-$1" 300; }
    control 00-start start "${5:-}"
    while read -r name seconds command; do
        [[ $3-$name =~ $only ]] || continue
        printf "%s\n'$root/ctest/bpf/daemon' offered || exit\nexport KDREG_BACKEND=bpf BACKENDS=bpf\nexec %s\n" "$environment" "$command" |
            script "$prefix-$name" "$seconds"
    done <"$work/list"
    control 90-uninstall uninstall
    control 91-left left
}

# one KERNEL: a guest, and what came of it.
one() {
    local kernel=$1 dir=$work/$1 start=$SECONDS status=0 number=0 mode name result seconds
    echo "kernel $kernel:"
    kernel/tree/stock-kernel "$kernel" >"$work/$kernel.kernel" 2>"$work/$kernel.words" || {
        fail "no such kernel is to be had here" "$(cat "$work/$kernel.words")"
        return
    }
    mkdir -p "$dir"
    for mode in $modes; do
        number=$((number + 1))
        write_mode "$dir" $number "$mode" "$mode"
    done
    # Last, since the device does not come back.
    [[ $modes != *notifier* ]] || write_mode "$dir" $((number + 1)) on-demand notifier 'rm -f /dev/kvm'
    ctest/vm/run --kernel-package "$kernel" --dev-kvm --rdma --memory 3072 --share "$target" \
        --timeout 7200 --log "$work/$kernel.console" --tests "$dir" >"$work/$kernel.log" 2>&1 || status=$?
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
        # What a test wants to be read.
        sed -n 's/^| /      | /p' "$dir/$name.log"
    done <"$dir/results.txt"
    [ $status = 0 ] || [ $failures -gt 0 ] ||
        fail "the guest ended with status $status" "$(tail -n 20 "$work/$kernel.log")"
    echo "  the guest took $((SECONDS - start)) s"
}

for kernel; do one "$kernel"; done
finish
