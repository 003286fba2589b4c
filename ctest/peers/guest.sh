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

# hit_rate FILE...: the statistics' hits, in percent of what was asked for, over all processes.
hit_rate() {
    sed -n 's/.*kdreg-verbs: \([0-9]*\) registrations asked for: \([0-9]*\) hits.*/\1 \2/p' "$@" |
        awk '{ asked += $1; hits += $2 } END { print asked ? int(100 * hits / asked) : 0 }'
}

# statistics FILE...: what the preloads said of processes that registered anything, to be read.
statistics() {
    grep -hE 'kdreg-verbs: [1-9]|kdreg-fabric.*registrations' "$@" | sed 's/^/|   /' | head -n 4
}
