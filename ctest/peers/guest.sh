# SPDX-License-Identifier: MIT OR Apache-2.0
# Read by the tests in tests/ with `.`, in the guest. What is tested here is
# other people's programs: with the preload, on each backend, they must do what
# they do without it.
set -u
top=$(cd "$(dirname "$0")/.." && pwd)
packages=$(cd "$top/../packages" && pwd)
address=10.99.0.1
slowness=${KDREG_TEST_SLOWNESS:-1}
failed=0

# The packages' files over the guest's own, for all tests of this boot.
if ! [ -e /run/kdreg-peers ]; then
    mount -t overlay overlay -o "lowerdir=$packages/root/usr:/usr" /usr || exit 1
    [ ! -d "$packages/root/etc" ] || cp -rn "$packages/root/etc/." /etc/
    printf '127.0.0.1 localhost\n%s %s\n' "$address" "$(hostname)" >/etc/hosts
    touch /run/kdreg-peers
fi
# The address that the interface's IP address gives is the last that is set.
port=/sys/class/infiniband/rxe0/ports/1
gid=$(grep -Lx '0000:0000:0000:0000:0000:0000:0000:0000' $port/gids/[0-7] | sort | tail -n 1)
gid=${gid##*/}
export KDREG_VERBS_STATS=1 KDREG_FABRIC_STATS=1
verbs=$top/lib/libkdreg-verbs.so
fabric=$top/lib/libkdreg-fabric.so
mkdir -p /tmp/peers
cd /tmp/peers || exit 1

fail() {
    echo "FAILED: $*"
    failed=1
}

# under WAY COMMAND...: without, or with the preloads on a backend.
under() {
    local way=$1
    shift
    if [ "$way" = without ]; then
        "$@"
    else
        KDREG_BACKEND=$way LD_PRELOAD="$verbs:$fabric" "$@"
    fi
}

ways="without kernel userfaultfd"

# within SECONDS COMMAND...: ends with the command's status, or kills it and all that it began after so long, says where each of them was, and
# ends with 124. How long is far more than any of them needs: one that comes to this hangs. Whoever has written $over into the file $output
# has a minute left for its end: 125.
over='' output=''
within() {
    local limit=$((SECONDS + $1)) late=124 mark=peer.$BASHPID.$SECONDS command status
    shift
    PEERS_RUN=$mark setsid "$@" &
    command=$!
    # Who runs this beside it ends it by ending this.
    trap 'end_all $mark; exit 143' TERM
    while kill -0 $command 2>/dev/null && [ $SECONDS -lt $limit ]; do
        if [ -n "$over" ] && [ $late = 124 ] && grep -q "$over" "$output"; then
            late=125
            limit=$((SECONDS + 60 * slowness))
        fi
        sleep 0.2 # not read -t: bash 5.2 aborts at a trap in it
    done
    if kill -0 $command 2>/dev/null; then
        where_are $mark >&2
        end_all $mark
        wait $command 2>/dev/null
        status=$late
    else
        wait $command
        status=$?
        # A launcher that failed may have left those that it began.
        end_all $mark
    fi
    trap - TERM
    return $status
}

# run_by MARK: the processes of one run, whatever session they are in.
run_by() {
    grep -lzx "PEERS_RUN=$1" /proc/[0-9]*/environ 2>/dev/null | sed 's:^/proc/::; s:/.*::'
}

# end_all MARK: each of them.
end_all() {
    # shellcheck disable=SC2046 # one word a process
    kill -KILL $(run_by "$1") 2>/dev/null
}

# where_are MARK: they and their threads: what each waits for.
where_are() {
    local process thread
    for process in $(run_by "$1"); do
        echo "hangs: $process $(tr '\0' ' ' <"/proc/$process/cmdline" | cut -c 1-120)"
        for thread in "/proc/$process/task"/*; do
            echo "  ${thread##*/} $(cat "$thread/comm"): $(sed -n 's/^State:\s*//p; s/^\(SigPnd\|ShdPnd\):\s*/\1 /p' "$thread/status" | tr '\n' ' ')syscall $(cat "$thread/syscall")"
            sed 's/^/    /' "$thread/stack"
        done
    done 2>/dev/null
}

# UCX before 1.19 takes from the completion's service level whether a packet came by IPv4, as one maker's devices write it there; of any
# other device it drops all. It drops none when it does not look to whom they were.
export UCX_UD_VERBS_ETH_DGID_CHECK=n
# Soft-RoCE acknowledges when it has a processor.
export UCX_UD_VERBS_TIMEOUT=300s UCX_RC_VERBS_TIMEOUT=4s

# ended_as_ucx_does STATUS FILE...: all was said and done, and then UCX 1.18 came to one of its own ends, as now and then over soft-RoCE, without
# the preload as well: in an assertion as it takes a connection down (the event that says so comes twice), or MPICH waits for ever.
ended_as_ucx_does() {
    local status=$1
    shift
    [ "$status" = 125 ] || { ! crashed "$status" "$@" && grep -q 'Assertion .wait_ctx->cb_id == UCS_CALLBACKQ_ID_NULL' "$@"; }
}

# crashed STATUS FILE...: by a signal that is no abort, which such an assertion ends in, and not our own: as a shell says it, as mpiexec.mpich does,
# which returns its ranks' wait statuses one over the other, and as the launchers print it.
crashed() {
    local status=$1
    shift
    case $status in
    4 | 5 | 7 | 8 | 11 | 132 | 133 | 135 | 136 | 139) return 0 ;;
    esac
    grep -qE 'EXIT STRING: (Segmentation|Bus|Illegal|Floating)|exited on signal (4|5|7|8|11) ' "$@"
}

# once_more STATUS FILE...: what ended so, and said that, is tried once more, at most four times: soft-RoCE acknowledges when it has a processor, and
# gives up a connection that it had none for. Without the preload as well. Wrong data, a crash and a hang before the end count at once,
# and what the preload does fails each time.
once_more() {
    local status=$1
    shift
    ! grep -qi 'integrity check failed\|mismatch' "$@" || return 1
    ! crashed "$status" "$@" || return 1
    ! ended_as_ucx_does "$status" "$@" || return 0
    case $status in
    0 | 6 | 124 | 134) return 1 ;;
    *) return 0 ;;
    esac
}

# worse STATUS STATUS: of two ends', the one that counts: a hang, or what was ended by a signal but by ours.
worse() {
    case $2 in
    124 | 13[0-689]) echo "$2" ;;
    *) echo "$((${1} ? ${1} : ${2}))" ;;
    esac
}

# hit_rate FILE...: the statistics' hits, in percent of what was asked for, over all processes.
hit_rate() {
    sed -n 's/.*kdreg-verbs: \([0-9]*\) registrations asked for: \([0-9]*\) hits.*/\1 \2/p' "$@" |
        awk '{ asked += $1; hits += $2 } END { print asked ? int(100 * hits / asked) : 0 }'
}

# statistics FILE...: what the preloads said of processes that registered anything, to be read.
statistics() {
    grep -hE 'kdreg-verbs: [1-9]|kdreg-fabric.*registrations' "$@" | sed 's/^/|   /' | head -n 4
}
