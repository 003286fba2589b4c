#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: versions.sh LIBKDREG-VERBS.SO LIBIBVERBS.SO [LIBIBVERBS.MAP.IN]
# The preload has libibverbs's names in libibverbs's versions, and no other symbol; and of all that libibverbs has, each is
# intercepted or is in symbols.not. With a third argument, a version script of a newer libibverbs is asked as well.
set -u
command -v nm >/dev/null || { echo "skipped: nm is not installed (apt-get install binutils)"; exit 77; }
here=$(cd "$(dirname "$0")" && pwd)
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
    elif ! nm -D "$2" | grep -q " A ${symbol#*@}\$"; then
        echo "  $symbol, which is newer than this libibverbs"
    else
        echo "FAILED: $symbol is not one of libibverbs's"
        failed=1
    fi
done
for needed in ibv_reg_mr@IBVERBS_1.1 ibv_reg_mr_iova@IBVERBS_1.7 ibv_reg_mr_iova2@IBVERBS_1.8 ibv_reg_mr_ex@IBVERBS_1.15 \
    ibv_dereg_mr@IBVERBS_1.1 ibv_open_device@IBVERBS_1.1; do
    echo "$ours" | grep -Fxq "$needed" || { echo "FAILED: $needed is missing"; failed=1; }
done

# Of their public versions: those of IBVERBS_1.0 are for programs that old.
names=$(echo "$theirs" | awk -F@ '$2 != "IBVERBS_1.0" && $2 !~ /PRIVATE|^FAKE/ { print $1 }')
if [ $# -gt 2 ]; then
    names="$names $(awk '/^IBVERBS_PRIVATE/ { exit } /;$/ && !/}/ { sub(/;/, ""); print $1 }' "$3" | grep '^_*[a-z_0-9]*$')"
fi
set -f
patterns=$(sed 's/#.*//' "$here/symbols.not")
for name in $names; do
    echo "$ours" | grep -q "^$name@" && continue
    known=no
    for pattern in $patterns; do
        # shellcheck disable=SC2254 # a pattern
        case $name in $pattern) known=yes ;; esac
    done
    [ $known = yes ] || { echo "FAILED: $name is neither intercepted nor in symbols.not"; failed=1; }
done
exit $failed
