# SPDX-License-Identifier: MIT OR Apache-2.0
# What the C files of a program use of each other: "USER DEFINER", a pair a line.
#
#   awk -f c-uses.awk FILE... FILE...
#
# The files twice: first it is found what each defines for others, then what each
# names. A definition begins a line, as everywhere in this tree.

# The line without comments, and without what strings say.
function code(line) {
    gsub(/"([^"\\]|\\.)*"/, "\"\"", line)
    if (comment) {
        if (!match(line, /\*\//)) return ""
        line = substr(line, RSTART + 2)
        comment = 0
    }
    while (match(line, /\/\*([^*]|\*+[^*\/])*\*+\//)) line = substr(line, 1, RSTART - 1) " " substr(line, RSTART + RLENGTH)
    if (match(line, /\/\*/)) {
        line = substr(line, 1, RSTART - 1)
        comment = 1
    }
    return line
}

FNR == 1 {
    comment = 0
    name = ""
    if (FILENAME == ARGV[1]) pass++
}
{ line = code($0) }

# A function's body, or a variable: its name is what comes before.
pass == 1 && /^\{/ && name != "" && name != "main" { home[name] = FILENAME }
pass == 1 && line ~ /^[a-z]/ {
    name = ""
    if (line ~ /^(static|typedef|extern|enum|union)[^a-z_]/ || line ~ /^struct [a-z_0-9]+ \{/) next
    if (match(line, /[A-Za-z_][A-Za-z0-9_]*\(/)) {
        if (line !~ /;$/) name = substr(line, RSTART, RLENGTH - 1)
    } else if (match(line, /[A-Za-z_][A-Za-z0-9_]*(\[[^]]*\])*( =|;)/)) {
        variable = substr(line, RSTART, RLENGTH)
        sub(/[^A-Za-z0-9_].*/, "", variable)
        home[variable] = FILENAME
    }
}
pass == 1 { next }

{
    rest = line
    while (match(rest, /[A-Za-z_][A-Za-z0-9_]*/)) {
        word = substr(rest, RSTART, RLENGTH)
        before = RSTART > 1 ? substr(rest, RSTART - 1, 1) : ""
        rest = substr(rest, RSTART + RLENGTH)
        # A member of a structure is nobody's.
        if (before != "." && before != ">" && word in home && home[word] != FILENAME)
            uses[FILENAME " " home[word]]
    }
}
END { for (pair in uses) print pair }
