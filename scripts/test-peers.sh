#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: test-peers.sh
# ctest/peers/tests in one guest with soft-RoCE and the module: other people's
# programs and test-suites, with the preloads and without. PEERS_TESTS chooses
# among them by patterns. LIBFABRIC_SOURCE adds those of ctest/fabric/tests that
# are about a newer libfabric.
. "$(dirname "$0")/env.sh"
. "$(dirname "$0")/guest-tests.sh"
set -eu

work=$target/peers
module=$root/kernel/kdreg.ko

PEERS_TESTS=${PEERS_TESTS:-*}
newer=(ctest/fabric/tests/[45]5-*)
all_match PEERS_TESTS ctest/peers/tests/* "${newer[@]}"
mapfile -t tests < <(matching "$PEERS_TESTS" ctest/peers/tests/*)
mapfile -t fabric < <(matching "$PEERS_TESTS" "${newer[@]}")
if [ -z "${LIBFABRIC_SOURCE:-}" ]; then
    [ ${#tests[@]} -gt 0 ] || die "${fabric[*]##*/}: needs a newer libfabric: LIBFABRIC_SOURCE=<directory of its source>"
    fabric=()
fi
[ "$(id -u)" = 0 ] || skip "the guest's root is the Debian tree of make kernel-tree, which only root can enter"

status=0
if [ ${#tests[@]} -gt 0 ]; then
    ctest/peers/fetch-packages "$work/packages"
    rm -rf "$work/run"
    mkdir -p "$work/run/tests" "$work/run/lib"
    cp ctest/peers/guest.sh ctest/peers/run_python.py ctest/peers/known-differences "$work/run/"
    cp -P "$target"/prefix/lib/libkdreg*.so* "$work/run/lib/"
    install -m 755 "${tests[@]}" "$work/run/tests/"
    start=$SECONDS
    ctest/vm/run --module "$module" --rdma --memory 3072 --share "$work" --timeout 7200 \
        --env PEERS_PYTHON="${PEERS_PYTHON:-}" --env PEERS_UCX="${PEERS_UCX:-}" \
        --env PEERS_MPI="${PEERS_MPI:-}" --tests "$work/run/tests" >"$work/guest.log" 2>&1 || status=$?
    echo "the guest took $((SECONDS - start)) s; what it said is in target/peers/guest.log"
    if [ ! -s "$work/run/tests/results.txt" ]; then
        tail -n 30 "$work/guest.log"
        die "no test ran"
    fi
    results "$work/run/tests"
    [ $status = 0 ] || [ $failures -gt 0 ] || fail "the guest ended with status $status" "$(tail -n 20 "$work/guest.log")"
fi
if [ ${#fabric[@]} -gt 0 ]; then
    FABRIC_TESTS="${fabric[*]##*/}" bash scripts/test-fabric.sh || failures=$((failures + 1))
fi
finish
