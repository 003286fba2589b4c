# SPDX-License-Identifier: MIT OR Apache-2.0
# The targets of a makefile with what they are for: "target: ... ## what for",
# or, in the comment at the top of a file, "#   make target   what for".
/^[a-z][a-z-]*:.*## / {
    name = $0
    sub(/:.*/, "", name)
    text = $0
    sub(/.*## /, "", text)
    printf "  %-24s %s\n", name, text
}
/^#   make [^ ]+( [A-Z_]+=[^ ]+)*  +/ {
    name = substr($0, 10)
    sub(/  +.*/, "", name)
    text = substr($0, 10)
    sub(/^.*[^ ]  +/, "", text)
    printf "  %-24s %s\n", name, text
}
