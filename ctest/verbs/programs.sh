#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: programs.sh LIBKDREG-VERBS.SO
# Unmodified programs of the distribution over soft-RoCE, both ends under the preload, on each backend (BACKENDS). Those that let peers at their
# memory have no monitor, as nothing of theirs is kept.
preload=$1
failed=0
# Everything takes longer on a kernel that checks itself.
slowness=${KDREG_TEST_SLOWNESS:-1}
limit=$((900 * slowness))

# The index of the address that the interface's IP address gives: the last one.
port=/sys/class/infiniband/rxe0/ports/1
gid=$(grep -Lx '0000:0000:0000:0000:0000:0000:0000:0000' $port/gids/[0-7] | sort | tail -n 1)
gid=${gid##*/}

# ends PROGRAM ARGUMENT...: a server, and then a client. Both must succeed, and say what the cache did.
ends() {
    local attempt client status
    for attempt in 1 2 3; do
        echo "--- KDREG_BACKEND=$KDREG_BACKEND $*"
        both "$@"
        # Soft-RoCE acknowledges when it has a processor. A program that waits for half a second in all, and cannot be
        # told otherwise, gives up where a machine is short of them: that is not the cache's doing.
        [ $client != 0 ] || [ $status != 0 ] || break
        grep -q 'transport retry counter exceeded\|Failed status 12' /tmp/client.log /tmp/server.log || break
        [ $attempt = 3 ] || echo "no acknowledgement in time: once more"
    done
    if [ $client != 0 ] || [ $status != 0 ]; then
        echo "FAILED: the client ended with $client, the server with $status:"
        cat /tmp/server.log
        failed=1
    fi
    for log in /tmp/client.log /tmp/server.log; do
        if ! grep -Eq "kdreg-verbs: [1-9][0-9]* registrations asked for: [0-9]+ hits, ([1-9][0-9]* registered, 0|0 registered, [1-9][0-9]*) passed through.* 0 failed;.*backend ($KDREG_BACKEND|none)" $log; then
            echo "FAILED: no word of the cache in $log"
            cat $log
            failed=1
        fi
    done
}

# both PROGRAM ARGUMENT...: sets client and status, the server's.
both() {
    LD_PRELOAD=$preload KDREG_VERBS_STATS=1 timeout "$limit" "$@" >/tmp/server.log 2>&1 &
    local server=$! tries
    # Each of them listens on one port of TCP until its client is there.
    for ((tries = 0; tries < 600 * slowness; tries++)); do
        kill -0 $server 2>/dev/null || break
        grep -q ' 0A ' <(awk '$2 ~ /:4853$/' /proc/net/tcp /proc/net/tcp6) && break
        sleep 0.1
    done
    LD_PRELOAD=$preload KDREG_VERBS_STATS=1 timeout "$limit" "$@" 127.0.0.1 >/tmp/client.log 2>&1
    client=$?
    # One that had no client, or lost it, would wait for ever.
    [ $client = 0 ] || kill $server 2>/dev/null
    wait $server
    status=$?
    cat /tmp/client.log
}

# 18515 (hexadecimal 4853) is their default port.
for KDREG_BACKEND in ${BACKENDS:-kernel userfaultfd}; do
    export KDREG_BACKEND
    ends ibv_rc_pingpong -d rxe0 -g "$gid" -n 200 -s 16384
    # -u 20: four seconds for an acknowledgement, rather than a sixteenth.
    ends ib_write_bw -d rxe0 -x "$gid" -n 100 -s 16384 -u 20 -F
    ends ib_send_lat -d rxe0 -x "$gid" -n 100 -s 1024 -u 20 -F
done
exit $failed
