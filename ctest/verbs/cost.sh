#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: cost.sh LIBKDREG-VERBS.SO PROGRAM
# The instructions that it takes to see what is posted and polled: PROGRAM's with the preload, less those without it.
set -u
preload=$1
program=$2
failed=0
command -v valgrind >/dev/null || { echo "valgrind is not installed (apt-get install valgrind)"; exit 77; }

# total KIND NUMBER [VARIABLE=VALUE]
total() {
    env KDREG_BACKEND=userfaultfd ${3:-KDREG_NOTHING=} valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1 |
        awk '/Collected/ { print $4 }'
}

# Two runs that differ in the number alone: what setting up costs cancels out.
while read -r kind most what; do
    without=$((($(total "$kind" 5000) - $(total "$kind" 1000)) / 4000))
    with=$((($(total "$kind" 5000 "LD_PRELOAD=$preload") - $(total "$kind" 1000 "LD_PRELOAD=$preload")) / 4000))
    echo "  $what: $((with - without)) instructions, at most $most"
    [ "$without" -gt 0 ] && [ $((with - without)) -le "$most" ] || { echo "FAILED: $kind"; failed=1; }
done <<END
send 160 a message and its completion
receive 380 a receive and its completion
read 410 a read and its completion
poll 55 a poll that finds nothing
END
exit $failed
