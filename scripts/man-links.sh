# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: man-links.sh write|list
# A manual page of several functions has other names in its section NAME. Each
# is a file that leads to it, so that whoever installs man/ installs them.
. "$(dirname "$0")/env.sh"
set -eu

# Other names of a page, as FILE PAGE.
links() {
    for page in man/*.[1-9]; do
        section=${page##*.}
        sed -n '/^\.Sh NAME/,/^\.Sh [SD]/s/^\.Nm \([a-z_0-9]*\).*/\1/p' "$page" | while read -r name; do
            [ "man/$name.$section" = "$page" ] || echo "man/$name.$section man$section/${page##*/}"
        done
    done
}

case $1 in
list) links ;;
write)
    links | while read -r file page; do
        printf '.\\" SPDX-License-Identifier: MIT OR Apache-2.0\n.so %s\n' "$page" >"$file"
    done
    ;;
*) die "say write or list, not '$1'" ;;
esac
