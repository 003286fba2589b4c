#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: transfers.sh LIBKDREG-VERBS.SO PROGRAM
# A program that registers and deregisters for each transfer gets its hits, and right data. A cache without a monitor
# would have given wrong data.
set -u
"$2" naive || exit 1
said=$(LD_PRELOAD=$1 KDREG_VERBS_STATS=1 "$2" plain 2>&1) || { echo "$said"; echo "FAILED"; exit 1; }
echo "$said"
hits=$(echo "$said" | sed -n 's/.*kdreg-verbs: 1200 registrations asked for: \([0-9]*\) hits, .* 0 passed through, 0 failed.*/\1/p')
if [ "${hits:-0}" -lt 1000 ]; then
    echo "FAILED: ${hits:-no} hits of 1200"
    exit 1
fi
