#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: test-peers.sh
# ctest/peers/tests in one guest with soft-RoCE and the module: other people's
# programs and test-suites, with the preloads and without. PEERS_TESTS chooses
# among them by a pattern.
. "$(dirname "$0")/env.sh"
set -eu

work=$target/peers
module=$root/kernel/kdreg.ko
[ "$(id -u)" = 0 ] || skip "the guest's root is the Debian tree of make kernel-tree, which only root can enter"

ctest/peers/fetch-packages "$work/packages"
rm -rf "$work/run"
mkdir -p "$work/run/tests" "$work/run/lib"
cp ctest/peers/guest.sh ctest/peers/run_python.py ctest/peers/known-differences "$work/run/"
cp -P "$target"/prefix/lib/libkdreg*.so* "$work/run/lib/"
# shellcheck disable=SC2231 # a pattern is what it is
for test in ctest/peers/tests/${PEERS_TESTS:-*}; do
    install -m 755 "$test" "$work/run/tests/"
done

start=$SECONDS
status=0
ctest/vm/run --module "$module" --rdma --memory 3072 --share "$work" --timeout 7200 \
    --env PEERS_PYTHON="${PEERS_PYTHON:-}" --env PEERS_UCX="${PEERS_UCX:-}" --tests "$work/run/tests" >"$work/guest.log" 2>&1 || status=$?
echo "the guest took $((SECONDS - start)) s; what it said is in target/peers/guest.log"
if [ ! -s "$work/run/tests/results.txt" ]; then
    tail -n 30 "$work/guest.log"
    die "no test ran"
fi
while read -r name result seconds; do
    checking "$name"
    case $result in
    ok) pass "$seconds s" ;;
    skipped) echo "skipped: $(tail -n 1 "$work/run/tests/$name.log")" ;;
    *) fail "$result, after $seconds s; the end of target/peers/run/tests/$name.log:" \
        "$(tail -n 25 "$work/run/tests/$name.log")" ;;
    esac
    # What a test wants to be read.
    sed -n 's/^| /      | /p' "$work/run/tests/$name.log"
done <"$work/run/tests/results.txt"
[ $status = 0 ] || [ $failures -gt 0 ] || fail "the guest ended with status $status" "$(tail -n 20 "$work/guest.log")"
finish
