#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: bpf-cost.sh KERNEL...
# What the bpf backend costs on stock kernels, beside the others, in
# instructions of a guest that counts them. The module is there for the newest.
. "$(dirname "$0")/env.sh"
set -eu -o pipefail

program=$target/ctest/bpf/bpf_cost
daemon=$dist/kdregd
work=$target/bpf-cost
[ -x "$daemon" ] || skip "kdregd is left out (make kdregd says why)"
rm -rf "$work"
mkdir -p "$work"

# In a guest: a row for each way.
cat >"$work/rows" <<GUEST
control() { KDREGD='$daemon' '$root/ctest/bpf/daemon' "\$@"; }
status=0
KDREG_BACKEND=none '$program' 'without kdregd'
KDREG_BACKEND=userfaultfd '$program' userfaultfd
for mode in notifier flush; do
    export KDREGD_MODE=\$mode
    control start || { [ \$? = 77 ] || status=1; continue; }
    # The kernel takes its time to let go of what the self-test had attached.
    sleep 5
    KDREG_BACKEND=none '$program' "beside kdregd, \$mode"
    KDREG_BACKEND=bpf '$program' "bpf, \$mode" "beside a client, \$mode" || status=1
    control uninstall || status=1
done
exit \$status
GUEST

for kernel; do
    echo "kernel $kernel:"
    echo "| | kdreg_valid | hit | miss | munmap watched | munmap unwatched | madvise 16 pages | mprotect 16 pages | munmap before opening | mprotect before opening | switch |"
    echo "|---|---|---|---|---|---|---|---|---|---|---|"
    ctest/vm/run --kernel-package "$kernel" --icount --accel tcg --dev-kvm --memory 1024 --share "$target" \
        --timeout 1800 -- bash "$work/rows" 2>"$work/$kernel.words" | tee "$work/$kernel.table" ||
        { tail -n 20 "$work/$kernel.words"; failures=$((failures + 1)); }
done
if [ -f kernel/kdreg.ko ]; then
    echo "the module, on the tree's kernel:"
    ctest/vm/run --icount --accel tcg --module kernel/kdreg.ko --memory 1024 --share "$target" --timeout 900 -- \
        env KDREG_BACKEND=kernel "$program" kernel | tee "$work/module.table"
fi
finish
