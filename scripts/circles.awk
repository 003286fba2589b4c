# SPDX-License-Identifier: MIT OR Apache-2.0
# Of pairs "A B", that A needs B, those that need themselves by others, a line each.
$1 != $2 { needs[$1, $2] = 1; part[$1] = part[$2] = 1 }
END {
    for (by in part)
        for (from in part)
            if ((from, by) in needs)
                for (to in part)
                    if ((by, to) in needs)
                        needs[from, to] = 1
    for (one in part)
        if ((one, one) in needs)
            print one
}
