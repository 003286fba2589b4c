# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: harmless.sh show | write
# Runs tools/kdreg_harmless, and puts its tables on standard output or into
# docs/harmless.md, between the lines that mark them.
. "$(dirname "$0")/env.sh"
set -eu

program=$target/ctest/harmless/kdreg_harmless
out=$target/harmless
page=docs/harmless.md
mkdir -p "$out"

# into FILE NAME TABLES: between the lines of FILE that mark the begin and the end of NAME.
into() {
    awk -v tables="$3" -v name="$2" '
        $0 ~ "^<!-- " name ": begin" { print; print ""; while ((getline line <tables) > 0) print line; print ""; inside = 1 }
        $0 ~ "^<!-- " name ": end" { inside = 0 }
        !inside { print }
    ' "$1" | cat -s >"$out/page.md"
    cp "$out/page.md" "$1"
}

status=0
"$program" --table >"$out/table.md" || status=$?
"$program" --costs >"$out/costs.md"
case ${1:-show} in
show) cat "$out/table.md" "$out/costs.md" ;;
write)
    [ $status -eq 0 ] || die "a difference has no name, or a named one is none: $page stays as it is"
    into "$page" harmless "$out/table.md"
    into "$page" harmless-costs "$out/costs.md"
    ;;
*) die "say show or write, not '$1'" ;;
esac
exit $status
