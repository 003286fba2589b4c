#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: transfers.sh LIBKDREG-VERBS.SO PROGRAM
# A program that registers and deregisters for each transfer gets its hits, and right data: for what it sends from always, for what its peer
# writes to when the user says that peers are done by then. A cache without a monitor would have given wrong data.
set -u
preload=$1
program=$2
"$program" naive || exit 1

# hits LEAST PASSED VARIABLE...: at least so many hits; so many registrations are passed through.
hits() {
    least=$1 passed=$2
    shift 2
    said=$(env "$@" LD_PRELOAD="$preload" KDREG_VERBS_STATS=1 "$program" plain 2>&1) || { echo "$said"; echo "FAILED"; exit 1; }
    echo "$said"
    hits=$(echo "$said" | sed -n "s/.*kdreg-verbs: 1200 registrations asked for: \([0-9]*\) hits, .* $passed passed through.*, 0 failed.*/\1/p")
    if [ "${hits:-0}" -lt "$least" ]; then
        echo "FAILED: ${hits:-no} hits of 1200, $least expected"
        exit 1
    fi
}

hits 500 600 KDREG_VERBS_KEEP_REMOTE=
hits 1000 0 KDREG_VERBS_KEEP_REMOTE=1
