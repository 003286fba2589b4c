# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: pictures.sh write|check
# Draws docs/*.svg: from docs/*.dot, and comparison.svg from the tables of the
# pages, which is the same on any machine. Where a box lies depends on the machine's
# fonts and graphviz; what is in it and what leads where does not, and that is
# what is compared.
. "$(dirname "$0")/env.sh"
set -eu

command -v dot >/dev/null || die "graphviz is missing: run make prerequisites"

# Without XML declaration, document type and empty lines, so that rustdoc can have it in a page.
draw() {
    echo '<!-- SPDX-License-Identifier: MIT OR Apache-2.0 -->'
    dot -Tsvg "$1" | sed -n '/^<svg/,$p' | sed 's/^<svg width="\([0-9]*\)pt" height="[0-9]*pt"/<svg style="max-width: \1px" width="100%"/' | grep -v '^$'
}

# Boxes, arrows and their texts.
contents() {
    grep -oE '<(title|text)[^>]*>[^<]*' "$1" | sed 's/<\(title\|text\)[^>]*>/\1 /' | sort
}

compare() {
    cargo run --quiet --locked -p kdreg-bench --bin comparison -- docs "$1"
}
case $1 in
write)
    compare docs/comparison.svg
    echo "drawn: docs/comparison.svg"
    ;;
check)
    mkdir -p "$target"
    must "docs/comparison.svg can be drawn from the tables" compare "$target/comparison.svg"
    same "it is current (else: make pictures)" docs/comparison.svg "$target/comparison.svg"
    ;;
esac

for source in docs/*.dot; do
    picture=${source%.dot}.svg
    case $1 in
    write)
        draw "$source" >"$picture"
        echo "drawn: $picture"
        ;;
    check)
        mkdir -p "$target"
        fresh=$target/$(basename "$picture")
        must "$source can be drawn" sh -c "dot -Tsvg '$source' >'$fresh'"
        contents "$picture" >"$fresh.said"
        contents "$fresh" >"$fresh.is"
        same "$picture is current (else: make pictures)" "$fresh.said" "$fresh.is"
        checking "$picture can be read on white and on dark"
        # The whole page has a light background of its own.
        if grep -q '<polygon fill="#f6f8fa"' "$picture"; then pass; else fail "it has no background"; fi
        ;;
    *) die "say write or check, not '$1'" ;;
    esac
done
finish
