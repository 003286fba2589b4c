#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: seen.sh LIBKDREG-FABRIC.SO PROGRAM...
# A program's call is seen in whatever version of libfabric's it was linked with; and when libfabric is there and no call was, that is said.
# `import` is what the preload does at the first call: it fails here, as this is no libfabric, and says so.
set -u
preload=$1
shift
failed=0
last=
# says WHAT PATTERN COMMAND...: on standard error, and the command succeeds.
says() {
    what=$1 pattern=$2
    shift 2
    said=$("$@" 2>&1) || { echo "FAILED: $what: the program ended with $?"; failed=1; }
    if [ -n "$pattern" ]; then
        echo "$said" | grep -q "$pattern" || { echo "FAILED: $what: '$said' does not match '$pattern'"; failed=1; }
    elif [ -n "$said" ]; then
        echo "FAILED: $what: '$said'"
        failed=1
    fi
}
for program; do
    echo "  ${program##*/}"
    says "without" "" "$program"
    says "a call" "kdreg-fabric.*not imported into libfabric" env LD_PRELOAD="$preload" KDREG_LOG=error KDREG_FABRIC_STATS=1 "$program"
    last=$program
done
says "no call" "kdreg-fabric.*warn: libfabric was loaded, and no call" env LD_PRELOAD="$preload" "$last" none
says "no call, quiet" "" env LD_PRELOAD="$preload" KDREG_LOG=error "$last" none
says "cancelled, without" "" "$last" cancelled
says "cancelled" "kdreg-fabric.*libfabric was loaded" env LD_PRELOAD="$preload" KDREG_FABRIC_STATS=1 "$last" cancelled
says "no libfabric" "" env LD_PRELOAD="$preload" true
says "no libfabric, statistics" "libfabric was not loaded" env LD_PRELOAD="$preload" KDREG_FABRIC_STATS=1 true
exit $failed
