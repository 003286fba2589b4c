#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: test-fabric.sh
# ctest/fabric/tests in one guest with soft-RoCE and the module, against the
# library in target/prefix. FABRIC_TESTS chooses among them by patterns.
. "$(dirname "$0")/env.sh"
. "$(dirname "$0")/guest-tests.sh"
set -eu

work=$target/fabric
module=$root/kernel/kdreg.ko

FABRIC_TESTS=${FABRIC_TESTS:-*}
all_match FABRIC_TESTS ctest/fabric/tests/*
mapfile -t tests < <(matching "$FABRIC_TESTS" ctest/fabric/tests/*)
[ "$(id -u)" = 0 ] || skip "the guest's root is the Debian tree of make kernel-tree, which only root can enter"

echo "making what runs in the guest ..."
ctest/fabric/build-libfabric "$target/libfabric"
ctest/fabric/build-programs "$target/prefix" "$work" "$target/libfabric/prefix"

# The blocks of README.md and docs/fabric.md that this stage stands for.
rm -rf "$work/tests" "$work/documents"
mkdir -p "$work/tests" "$work/documents"
cp ctest/fabric/guest.sh "$work/"
awk -v dir="$work/documents" '
    /^<!-- covered: test-fabric -->$/ { mine = 1; next }
    /^```sh$/ && mine { inside = 1; name = sprintf("%s/%02d", dir, ++n); next }
    /^```/ { inside = 0; mine = 0; next }
    inside { print >name; next }
    { mine = 0 }
' README.md docs/fabric.md
install -m 755 "${tests[@]}" "$work/tests/"

start=$SECONDS
status=0
ctest/vm/run --module "$module" --rdma --memory 3072 --share "$work" --share "$target/libfabric" \
    --timeout 7200 --tests "$work/tests" >"$work/guest.log" 2>&1 || status=$?
echo "the guest took $((SECONDS - start)) s; what it said is in target/fabric/guest.log"
if [ ! -s "$work/tests/results.txt" ]; then
    tail -n 30 "$work/guest.log"
    die "no test ran"
fi
results "$work/tests"
[ $status = 0 ] || [ $failures -gt 0 ] || fail "the guest ended with status $status" "$(tail -n 20 "$work/guest.log")"
finish
