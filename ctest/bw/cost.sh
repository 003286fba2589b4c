#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# cost.sh KDREG_BW: where time is instructions, libkdreg's transfers cost at
# most 2 % more than those of buffers registered once when all is reused, and at
# most 5 % more than registering each time when nothing is (3.7 % on Linux 7.3). Small transfers are
# many, as the rare registration that is kept weighs most there.
set -eu
measure() {
    "$1" -q --sizes "$2" --reuse 0,100 --depth 1 --transfers "$3" --rounds 3 --backend kernel --csv -
}
{ measure "$1" 4K 2000 && measure "$1" 64K,1M 200; } |
    tee /dev/stderr |
    awk -F, '
        $5 == "once" { once[$3] = $8 }
        $5 == "each" { each[$3, $4] = $8 }
        $5 == "libkdreg" { ours[$3, $4] = $8 }
        function compare(what, size, is, than, most) {
            ratio = is / than
            printf "%7d bytes, %s: %.0f instructions, %.3f of %.0f\n", size, what, is, ratio, than
            if (!(ratio <= most)) { printf "  more than %.2f\n", most; bad = 1 }
        }
        END {
            for (size in once) {
                compare("all reused, to registered once", size, ours[size, 100], once[size], 1.02)
                compare("none reused, to registered each time", size, ours[size, 0], each[size, 0], 1.05)
            }
            if (!length(once)) { print "nothing was measured"; bad = 1 }
            exit bad
        }'
