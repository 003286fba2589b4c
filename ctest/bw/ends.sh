#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# ends.sh KDREG_BW DIRECTORY: the two ends of verbs transfers, over the stand-in
# for libibverbs in DIRECTORY.
set -eu
bw=$1
export LD_LIBRARY_PATH="$2${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
work=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
# Below those that the kernel gives to whoever connects somewhere.
port=$((20000 + $$ % 12000))

"$bw" --listen --port $port --sizes 64K >"$work/server" 2>&1 &
server=$!
"$bw" --connect localhost --port $port --sizes 4K,64K --reuse 0,100 --transfers 300 --rounds 1 --depth 4 \
    --csv "$work/out.csv" 2>&1 || { cat "$work/server"; exit 1; }
wait $server || { cat "$work/server"; echo "the other end failed"; exit 1; }
cat "$work/server" "$work/out.csv"
awk -F, '
    $1 == "verbs" { rows++ }
    $5 == "each" && $12 != 1 { bad = 1 }
    $2 != "none" && $5 == "libkdreg" && $4 == 100 && $12 > 0.05 { print "no hits"; bad = 1 }
    $2 != "none" && $5 == "libkdreg" && $4 == 0 && $12 < 0.95 { print "hits on fresh memory"; bad = 1 }
    END { if (rows != 10) { print rows " rows"; bad = 1 }; exit bad }
' "$work/out.csv"

# More than the other end has room for.
"$bw" --listen --port $port --sizes 4K >"$work/server" 2>&1 &
server=$!
if "$bw" --connect localhost --port $port --sizes 64K --quiet >"$work/client" 2>&1; then
    echo "sizes that do not fit went through"
    exit 1
fi
cat "$work/client"
grep -q 'takes at most 4096 bytes' "$work/client"
wait $server || true

# Something else is listening there.
if command -v python3 >/dev/null; then
    python3 -c '
import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", '$port')); s.listen(1)
c, _ = s.accept(); c.sendall(b"220 mail\n"); c.recv(999)' &
    server=$!
    "$bw" --connect 127.0.0.1 --port $port --quiet >"$work/client" 2>&1 && exit 1
    cat "$work/client"
    grep -q "is not a kdreg_bw of this version: it says '220 mail'" "$work/client"
fi
