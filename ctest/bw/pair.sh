#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: pair.sh KDREG_BW device|namespaces [BACKEND]
# Two processes and a real verbs device: RDMA writes from one to the other over
# soft-RoCE, over one device, or between two network namespaces with a device
# in each, at the two ends of a veth pair.
bw=$1
where=$2
backend=${3:-kernel}
work=$(mktemp -d)
port=18520
# Seconds for either end: as only a hang takes, beside whatever else the machine does.
limit=$((1200 * ${KDREG_TEST_SLOWNESS:-1}))

fail() {
    echo "FAILED: $*"
    echo "--- the listening end:"
    cat "$work/server"
    rdma link
    exit 1
}

# The end that listens and the end that measures: what starts a command there, and its device.
near=() far=() near_device=rxe0 far_device=rxe0 address=127.0.0.1

leave() {
    local end
    for end in far near; do # both devices: one interface of a pair takes the other along
        ip netns exec kdreg-$end rdma link delete rxe-$end
    done
    for end in far near; do
        ip netns del kdreg-$end
    done
    rm -rf "$work"
}

# A device that is added from inside a namespace belongs to it.
namespaces() {
    local end number=1
    modprobe -q veth
    trap leave EXIT
    ip netns add kdreg-far && ip netns add kdreg-near || return
    ip link add far0 netns kdreg-far type veth peer name near0 netns kdreg-near || return
    for end in far near; do
        ip -n kdreg-$end address add 10.98.0.$((number++))/24 dev ${end}0 || return
        ip -n kdreg-$end link set ${end}0 up && ip -n kdreg-$end link set lo up || return
    done
    for end in far near; do
        ip netns exec kdreg-$end rdma link add rxe-$end type rxe netdev ${end}0 || return
    done
    near=(ip netns exec kdreg-near) far=(ip netns exec kdreg-far)
    near_device=rxe-near far_device=rxe-far address=10.98.0.1
}

case $where in
device) trap 'rm -rf "$work"' EXIT ;;
namespaces) namespaces || fail "two namespaces with a device in each" ;;
*) echo "usage: pair.sh KDREG_BW device|namespaces [BACKEND]"; exit 2 ;;
esac

"${far[@]}" timeout "$limit" "$bw" --listen --port $port --device $far_device --sizes 64K >"$work/server" 2>&1 &
server=$!
"${near[@]}" timeout "$limit" "$bw" --connect $address --port $port --device $near_device --backend "$backend" \
    --sizes 4K,64K --reuse 0,100 --transfers 40 --rounds 1 --depth 2 --csv "$work/out.csv" --svg "$work/out.svg" ||
    fail "the measuring end ended with $?"
wait $server || fail "the listening end ended with $?"
cat "$work/server" "$work/out.csv"

# Each of the ten has moved what it was to move: kdreg_bw has the other end read the first and last byte of the
# last transfer to it, and fails if they are not the ones that were written.
awk -F, -v backend="$backend" '
    $1 == "verbs" && $2 == backend { rows++ }
    $1 == "verbs" && !($7 > 0 && $8 > 0 && $10 > 0) { print "no figures"; bad = 1 }
    $5 == "each" && $12 != 1 { print "each: " $12 " registrations"; bad = 1 }
    $5 == "libkdreg" && $4 == 100 && !($13 > 0.95 && $12 < 0.05) { print $13 " hits at full reuse"; bad = 1 }
    $5 == "libkdreg" && $4 == 0 && !($12 > 0.95) { print "hits on fresh memory"; bad = 1 }
    END { if (rows != 10) { print rows " rows"; bad = 1 }; exit bad }
' "$work/out.csv" || fail "the results"
for needle in 'xmlns="http://www.w3.org/2000/svg"' 'verbs' '64 KiB' 'libkdreg' '</svg>'; do
    grep -qF "$needle" "$work/out.svg" || fail "the plot lacks: $needle"
done
