# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: awk -v base=include/ -f prototypes.awk HEADER... | PAGE...
# Prints what headers declare, or the synopses of manual pages say, in one
# form: "NAME<tab>HEADER<tab>PROTOTYPE". Functions and pointers to functions.
function normal(text) {
    gsub(/[ \t\n]+/, " ", text)
    gsub(/ ?\* ?/, "*", text)
    gsub(/ ?, ?/, ", ", text)
    gsub(/ ?\( ?/, "(", text)
    gsub(/ ?\) ?/, ")", text)
    gsub(/^ | $/, "", text)
    return text
}
function declared(text, name) {
    text = normal(text)
    name = text
    # "typedef int(*kdreg_x_fn)(...)" or "int kdreg_x(...)".
    if (text ~ /^typedef [^(]*\(\*kdreg_/) { sub(/^[^(]*\(\*/, "", name); sub(/\).*/, "", name) }
    else if (text ~ /^[^(]*kdreg_[a-z_0-9]*\(/ && text !~ /^typedef/) {
        sub(/\(.*/, "", name)
        sub(/.*[ *]/, "", name)
    } else { return }
    if (name ~ /^kdreg_/) { print name "\t" header "\t" text }
}
FNR == 1 {
    page = FILENAME ~ /\.[1-9]$/
    header = FILENAME
    sub(base, "", header)
    depth = comment = 0
    text = ""
    synopsis = 0
}
# A manual page.
page && /^\.Sh / { synopsis = /^\.Sh SYNOPSIS/; next }
page && synopsis && /^\.In / { header = $2; next }
page && synopsis && /^\.Ft / { type = substr($0, 5); gsub(/"/, "", type); next }
page && synopsis && /^\.Fo / { text = type " " $2 "("; separator = ""; next }
page && synopsis && /^\.Fa / {
    argument = substr($0, 5)
    gsub(/"/, "", argument)
    text = text separator argument
    separator = ", "
    next
}
page && synopsis && /^\.Fc/ { declared(text ")"); next }
page { next }
# A header: comments and directives out, then statements outside of braces.
{
    line = $0
    if (continued) { continued = /\\$/; next }
    if (!comment && line ~ /^#/) { continued = line ~ /\\$/; next }
    while (1) {
        if (comment) {
            at = index(line, "*/")
            if (!at) { line = ""; break }
            line = substr(line, at + 2)
            comment = 0
        }
        at = index(line, "/*")
        if (!at) { break }
        rest = substr(line, at + 2)
        end = index(rest, "*/")
        if (end) { line = substr(line, 1, at - 1) " " substr(rest, end + 2) }
        else { kept = substr(line, 1, at - 1); comment = 1; line = kept; break }
    }
    sub(/\/\/.*/, "", line)
    sub(/extern "C" \{/, "", line)
    for (i = 1; i <= length(line); i++) {
        c = substr(line, i, 1)
        if (c == "{") { if (depth++ == 0) { declared(text); text = "" } }
        else if (c == "}") { if (depth > 0) { depth-- } text = "" }
        else if (depth == 0 && c == ";") { declared(text); text = "" }
        else if (depth == 0) { text = text c }
    }
    if (depth == 0) { text = text " " }
}
