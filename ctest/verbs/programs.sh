#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: programs.sh LIBKDREG-VERBS.SO
# Unmodified programs of the distribution over soft-RoCE, both ends under the preload, on each backend.
preload=$1
failed=0
# Everything takes longer on a kernel that checks itself.
slowness=${KDREG_TEST_SLOWNESS:-1}
limit=$((180 * slowness))

# The index of the address that the interface's IP address gives: the last one.
port=/sys/class/infiniband/rxe0/ports/1
gid=$(grep -Lx '0000:0000:0000:0000:0000:0000:0000:0000' $port/gids/[0-7] | sort | tail -n 1)
gid=${gid##*/}

# ends PROGRAM ARGUMENT...: a server, and then a client. Both must succeed, and say what the cache did.
ends() {
    echo "--- KDREG_BACKEND=$KDREG_BACKEND $*"
    LD_PRELOAD=$preload KDREG_VERBS_STATS=1 timeout "$limit" "$@" >/tmp/server.log 2>&1 &
    local server=$! tries
    # Each of them listens on one port of TCP until its client is there.
    for ((tries = 0; tries < 600 * slowness; tries++)); do
        grep -q ' 0A ' <(awk '$2 ~ /:4853$/' /proc/net/tcp /proc/net/tcp6) && break
        sleep 0.1
    done
    LD_PRELOAD=$preload KDREG_VERBS_STATS=1 timeout "$limit" "$@" 127.0.0.1 >/tmp/client.log 2>&1
    local client=$?
    wait $server
    local status=$?
    cat /tmp/client.log
    if [ $client != 0 ] || [ $status != 0 ]; then
        echo "FAILED: the client ended with $client, the server with $status:"
        cat /tmp/server.log
        failed=1
    fi
    for log in /tmp/client.log /tmp/server.log; do
        if ! grep -Eq "kdreg-verbs: [1-9][0-9]* registrations asked for: [0-9]+ hits, [1-9][0-9]* registered, .*backend $KDREG_BACKEND" $log; then
            echo "FAILED: no word of the cache in $log"
            cat $log
            failed=1
        fi
    done
}

# 18515 (hexadecimal 4853) is their default port.
for KDREG_BACKEND in kernel userfaultfd; do
    export KDREG_BACKEND
    ends ibv_rc_pingpong -d rxe0 -g "$gid" -n 200 -s 16384
    ends ib_write_bw -d rxe0 -x "$gid" -n 100 -s 16384 -F
    ends ib_send_lat -d rxe0 -x "$gid" -n 100 -s 1024 -F
done
exit $failed
