#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# outputs.sh KDREG_BW: a short run over io_uring; its table, CSV and plot.
set -eu
bw=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

status=0
"$bw" --sizes 4K-64K --reuse 0,50,100 --transfers 100 --rounds 1 --depth 4 \
    --csv "$work/out.csv" --svg "$work/out.svg" >"$work/table" 2>"$work/progress" || status=$?
cat "$work/table" "$work/progress"
if [ $status -eq 4 ] && grep -q 'io_uring_setup' "$work/progress"; then
    echo "skipped: io_uring is refused here"
    exit 77
fi
[ $status -eq 0 ] || { echo "exit status $status"; exit 1; }

grep -q '%.*round 1 of 1' "$work/progress" || { echo "no progress"; exit 1; }
[ "$(grep -c '^ *\(4\|16\|64\) KiB' "$work/table")" -eq 9 ] || { echo "not 9 rows in the table"; exit 1; }

cat "$work/out.csv"
awk -F, '
    NF != 13 { print "line " NR " has " NF " fields"; bad = 1 }
    NR == 1 { if ($3 != "size_bytes") { print "no heading"; bad = 1 } next }
    { rows[$5]++ }
    # Bandwidth and both latencies are numbers above 0.
    { for (i = 7; i <= 11; i++) if ($i !~ /^[0-9]+\.[0-9]+$/ || $i <= 0) { print "line " NR ": " $i; bad = 1 } }
    $5 == "each" && $12 != 1 { print "each: " $12 " registrations"; bad = 1 }
    $5 == "once" && $12 != 0 { print "once: " $12 " registrations"; bad = 1 }
    # With a backend that sees something: as much as is reused is hit.
    $2 != "none" && $5 == "libkdreg" && ($12 < 1 - $4 / 100 - 0.05 || $12 > 1 - $4 / 100 + 0.05) {
        print "libkdreg, " $4 " % reuse: " $12 " registrations"; bad = 1
    }
    END {
        if (rows["once"] != 3 || rows["each"] != 9 || rows["libkdreg"] != 9) { print "rows are missing"; bad = 1 }
        exit bad
    }
' "$work/out.csv"

# Well-formed: every element that is opened is closed, in order.
awk '
    BEGIN { RS = "<"; depth = 0 }
    NR == 1 { next }
    { tag = $0; sub(/>.*/, "", tag) }
    tag ~ /^\// { if (stack[depth] != substr(tag, 2)) { print "</" stack[depth] "> is missing"; exit bad = 1 } depth--; next }
    tag !~ /\/$/ { name = tag; sub(/[ \t\n].*/, "", name); stack[++depth] = name }
    /[^;]&[^#a-z]/ { print "a bare &"; exit bad = 1 }
    END { if (depth || bad) { print "not well-formed"; exit 1 } }
' "$work/out.svg"
for needle in 'xmlns="http://www.w3.org/2000/svg"' 'prefers-color-scheme:dark' 'Message size' 'Bandwidth (MiB/s)' \
    'Latency' '64 KiB' 'libkdreg, 50 % reuse' 'registered once'; do
    grep -qF "$needle" "$work/out.svg" || { echo "the plot lacks: $needle"; exit 1; }
done
if grep -n 'nan\|inf' "$work/out.svg"; then echo "a coordinate is no number"; exit 1; fi
