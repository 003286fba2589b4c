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
subject="verbs and libfabric on the bpf backend"
work=$target/bpf-consumers
. "$(dirname "$0")/bpf-guests.sh"
set -eu

verbs=$build/verbs
guests_can_run
[ -x "$verbs/verbs_adaptor" ] || die "the C tests of verbs are not built: that takes <infiniband/verbs.h>"

echo "making what runs in the guest ..."
begin_work
mkdir -p "$work/fabric/tests"
ctest/fabric/build-libfabric "$target/libfabric"
ctest/fabric/build-programs "$target/prefix" "$work/fabric" "$target/libfabric/prefix"
cp ctest/fabric/guest.sh "$work/fabric/"
# Where guest.sh looks for it.
ln -s "$target/libfabric" "$work/libfabric"

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

# write_mode DIRECTORY NUMBER NAME MODE [BEFORE]: what a guest runs under one kdregd.
write_mode() {
    local prefix=$1/$2-$3 name seconds command
    under_kdregd "$prefix" "$4" 300 "${5:-}"
    while read -r name seconds command; do
        [[ $3-$name =~ $only ]] || continue
        when_offered "$4" "export BACKENDS=bpf; exec $command" | script "$prefix-$name" "$seconds"
    done <"$work/list"
}

# one KERNEL: a guest, and what came of it.
one() {
    local kernel=$1 dir=$work/$1 number=0 mode
    echo "kernel $kernel:"
    stock "$kernel" || {
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
    guest "$kernel" --rdma
}

for kernel; do one "$kernel"; done
finish
