# SPDX-License-Identifier: MIT OR Apache-2.0
# Checks bench.csv: every number finite, quartiles in order, none of libkdreg's missing.
# Fields with commas in them are quoted: the numbers are looked for from the right scenario on.
NR == 1 {
    if ($0 != "scenario,chart,subject,at,axis,unit,median,low,high,rounds,note") {
        print "not the columns: " $0
        bad = 1
    }
    next
}
{
    # Quoted fields out of the way.
    line = $0
    gsub(/"[^"]*"/, "text", line)
    n = split(line, field, ",")
    if (n != 11) {
        print "not eleven fields: " $0
        bad = 1
        next
    }
    seen[field[1]] = 1
    if (field[7] == "" && field[11] == "") {
        print "neither a number nor a reason: " $0
        bad = 1
    }
    for (i = 7; i <= 9; i++)
        if (field[i] != "" && field[i] !~ /^-?[0-9]+(\.[0-9]+)?$/) {
            print "no finite number: " $0
            bad = 1
        }
    if (field[8] + 0 > field[7] + 0 || field[7] + 0 > field[9] + 0) {
        print "quartiles out of order: " $0
        bad = 1
    }
    if (field[3] ~ /^libkdreg/ && field[7] == "" && field[11] != "no such operation") {
        print "libkdreg has no number: " $0
        bad = 1
    }
}
END {
    for (s in seen) count++
    if (count < 5) {
        print "only " count " scenarios"
        bad = 1
    }
    exit bad
}
