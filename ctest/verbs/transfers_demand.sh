#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: transfers_demand.sh LIBKDREG-VERBS.SO ADVISING PROGRAM
# The transfers of transfers.c registered on demand, by the adaptor and by the preload, over soft-RoCE: each packet a page. ADVISING: advising.c.
set -u
preload=$1 advising=$2 program=$3
ip link set dummy0 mtu 9000 || exit 1
trap 'ip link set dummy0 mtu 1500' EXIT
export KDREG_VERBS_ODP=on KDREG_VERBS_ODP_PAGES=1
LD_PRELOAD="$advising" "$program" || exit 1
said=$(LD_PRELOAD="$preload $advising" KDREG_VERBS_KEEP_REMOTE=1 KDREG_VERBS_STATS=1 "$program" plain 2>&1)
status=$?
echo "$said"
[ $status = 0 ] || exit 1
# The memory of those that were asked for again had been mapped anew.
made=$(echo "$said" | sed -n 's/.*; \([0-9]*\) on demand, .*/\1/p') again=$(echo "$said" | sed -n 's/.* on demand, \([0-9]*\) again, .*/\1/p')
if [ "${made:-0}" -lt 8 ] || [ "${again:-0}" -lt 50 ]; then
    echo "FAILED: ${made:-none} on demand, ${again:-none} again: 8 and 50 expected"
    exit 1
fi
