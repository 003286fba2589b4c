#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: latency.sh LIBKDREG-VERBS.SO
# What it costs to see each post and each poll, in a guest where time is instructions: ib_send_lat, which waits for events so that no time
# slice of the one processor is measured, takes at most 3 % longer with the preload (1.5 % on Linux 7.3).
preload=$1
port=/sys/class/infiniband/rxe0/ports/1
gid=$(grep -Lx '0000:0000:0000:0000:0000:0000:0000:0000' $port/gids/[0-7] | sort | tail -n 1)
gid=${gid##*/}

# typical VARIABLE=VALUE...: the typical latency of 64 bytes, in microseconds.
typical() {
    env "$@" ib_send_lat -d rxe0 -x "$gid" -n 1000 -s 64 -u 20 -F -e >/tmp/server.log 2>&1 &
    local server=$! status
    while kill -0 $server 2>/dev/null && ! grep -q ' 0A ' <(awk '$2 ~ /:4853$/' /proc/net/tcp /proc/net/tcp6); do
        sleep 0.1
    done
    env "$@" ib_send_lat -d rxe0 -x "$gid" -n 1000 -s 64 -u 20 -F -e 127.0.0.1 >/tmp/client.log 2>&1
    status=$?
    [ $status = 0 ] || kill $server 2>/dev/null
    wait $server || status=1
    [ $status = 0 ] || { cat /tmp/server.log /tmp/client.log >&2; exit 1; }
    awk '$1 == 64 && NF >= 9 { print $5 }' /tmp/client.log
}

without=$(typical KDREG_NOTHING=) || exit 1
with=$(typical LD_PRELOAD="$preload") || exit 1
disabled=$(typical LD_PRELOAD="$preload" KDREG_VERBS_DISABLE=1) || exit 1
again=$(typical KDREG_NOTHING=) || exit 1
echo "typical latency of 64 bytes: $without us without, $with with the preload, $disabled with it disabled, $again without again"
awk -v a="$without" -v b="$again" -v with="$with" 'BEGIN { exit !(a > 0 && with > 0 && with <= 1.03 * (a > b ? a : b)) }' ||
    { echo "FAILED: more than 3 %"; exit 1; }
