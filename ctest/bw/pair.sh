#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# pair.sh KDREG_BW OPTION...: runs it over verbs, as root, between two network
# namespaces joined by a veth pair, a soft-RoCE device on either end.
set -euo pipefail
bw=$1
shift
modprobe -q veth
modprobe -q rdma_rxe
modprobe -q ib_uverbs
# Each namespace with its own devices: otherwise all see all.
rdma system set netns exclusive 2>/dev/null || true

cleanup() {
    kill "${server:-}" 2>/dev/null || true
    for end in 1 2; do
        ip netns exec "bw$end" rdma link delete "bw$end" 2>/dev/null || true
        ip netns delete "bw$end" 2>/dev/null || true
    done
    rdma system set netns shared 2>/dev/null || true
}
trap cleanup EXIT

ip netns add bw1
ip netns add bw2
ip link add bwveth1 netns bw1 type veth peer name bwveth2 netns bw2
for end in 1 2; do
    ip -n "bw$end" link set lo up
    ip -n "bw$end" address add "10.98.0.$end/24" dev "bwveth$end"
    ip -n "bw$end" link set "bwveth$end" mtu 4200 up
    ip netns exec "bw$end" rdma link add "bw$end" type rxe netdev "bwveth$end"
done
for end in 1 2; do
    for ((i = 0; i < 50; i++)); do
        ip netns exec "bw$end" rdma link show "bw$end/1" | grep -q 'state ACTIVE' && break
        sleep 0.1
    done
done

ip netns exec bw1 "$bw" --listen --device bw1 "$@" &
server=$!
ip netns exec bw2 "$bw" --connect 10.98.0.1 --device bw2 "$@"
wait "$server"
