#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: versions.sh LIBKDREG-VERBS.SO LIBIBVERBS.SO
# The preload has libibverbs's names in libibverbs's versions, and no other symbol.
set -u
symbols() {
    nm -D --defined-only --with-symbol-versions "$1" | awk '$2 != "A" { sub(/@@/, "@", $3); print $3 }' | sort -u
}
theirs=$(symbols "$2")
ours=$(symbols "$1")
[ -n "$ours" ] || { echo "FAILED: $1 exports nothing"; exit 1; }
failed=0
for symbol in $ours; do
    if echo "$theirs" | grep -Fxq "$symbol"; then
        echo "  $symbol"
    else
        echo "FAILED: $symbol is not one of libibverbs's"
        failed=1
    fi
done
for needed in ibv_reg_mr@IBVERBS_1.1 ibv_reg_mr_iova@IBVERBS_1.7 ibv_reg_mr_iova2@IBVERBS_1.8 ibv_dereg_mr@IBVERBS_1.1; do
    echo "$ours" | grep -Fxq "$needed" || { echo "FAILED: $needed is missing"; failed=1; }
done
exit $failed
