# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: awk -v dir=DIR -f man-examples.awk PAGE...
# Writes the examples of manual pages into files of their own, and prints for
# each "PAGE:LINE", its rule and the file. The line before a display of the
# section EXAMPLES is its rule:
#
#   .\" example: run [needs HEADER] [with FLAGS]    a C program
#   .\" example: sh [needs PROGRAM]                 commands
#
# A display there without a rule is printed with the rule "none".
FNR == 1 {
    page = FILENAME
    sub(/.*\//, "", page)
    section = rule = ""
    number = 0
}
/^\.Sh / { section = $0; sub(/^\.Sh /, "", section) }
/^\.\\" example: / { rule = $0; sub(/^\.\\" example: /, "", rule); next }
/^\.Bd / && section == "EXAMPLES" {
    if (rule == "") { rule = "none" }
    file = sprintf("%s/%s.%d.%s", dir, page, ++number, rule ~ /^run/ ? "c" : "sh")
    printf "" >file
    printf "%s:%d\t%s\t%s\n", page, FNR, rule, file
    inside = 1
    rule = ""
    next
}
/^\.Ed/ && inside { inside = 0; close(file); next }
inside {
    # What roff would make of it.
    gsub(/\\&/, "")
    gsub(/\\e/, "\\")
    print >file
    next
}
{ rule = "" }
