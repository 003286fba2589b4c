#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: demand.sh KDREG_BW ADVISING [SIZES [REUSE [TRANSFERS]]]
# Where time is instructions: transfers over soft-RoCE from buffers that are
# registered on demand, with prefetching and without, beside those that are pinned.
# What docs/verbs.md says of KDREG_VERBS_ODP=auto is from here. ADVISING: advising.c.
bw=$1 advising=$2 sizes=${3:-4K,64K,1M} reuse=${4:-0,100} transfers=${5:-10}
# Each packet is a page: docs/verbs.md has why.
export KDREG_VERBS_ODP_PAGES=1
ip link set dummy0 mtu 9000 || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"; ip link set dummy0 mtu 1500' EXIT

# measure FILE VARIABLE=VALUE...
measure() {
    local file=$1 server status
    shift
    "$bw" --listen --sizes 64M >"$work/server" 2>&1 &
    server=$!
    env LD_PRELOAD="$advising" "$@" "$bw" --connect 127.0.0.1 -q --sizes "$sizes" --reuse "$reuse" --strategies each,libkdreg,odp \
        --depth 1 --transfers "$transfers" --rounds 1 --csv "$work/$file"
    status=$?
    [ $status = 0 ] || kill $server 2>/dev/null
    wait $server || status=1
    [ $status = 0 ] || { echo "FAILED"; cat "$work/server"; exit 1; }
}

measure prefetched KDREG_VERBS_ODP_PREFETCH=
measure faulting KDREG_VERBS_ODP_PREFETCH=0
awk -F, '
    $3 == "size_bytes" { next }
    FILENAME ~ /prefetched/ { if (!(($3, $4) in seen)) order[++rows] = $3 SUBSEP $4; seen[$3, $4]; value[$5, $3, $4] = $8 }
    FILENAME ~ /faulting/ && $5 == "odp" { value["faulting", $3, $4] = $8 }
    END {
        print "| instructions per transfer; and of libkdreg, pinned, what it is on demand"
        printf "| %9s %6s %10s %10s %10s %7s %10s %7s\n", "bytes", "reuse", "each", "libkdreg", "prefetched", "", "faulting", ""
        for (row = 1; row <= rows; row++) {
            split(order[row], at, SUBSEP)
            pinned = value["libkdreg", at[1], at[2]]
            odp = value["odp", at[1], at[2]]
            faulting = value["faulting", at[1], at[2]]
            if (!(pinned > 0 && odp > 0 && faulting > 0)) { print "no figures"; bad = 1; continue }
            printf "| %9d %4d %% %10.0f %10.0f %10.0f %7.3f %10.0f %7.3f\n", at[1], at[2], value["each", at[1], at[2]], pinned, odp, odp / pinned,
                faulting, faulting / pinned
        }
        if (!rows) { print "nothing was measured"; bad = 1 }
        exit bad
    }' "$work/prefetched" "$work/faulting" || { echo "FAILED"; exit 1; }
