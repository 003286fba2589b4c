# SPDX-License-Identifier: MIT OR Apache-2.0
# docs/ as a book in target/site, and every link in it followed. mdbook is built
# from source, once, where it is missing: some minutes, so this is no part of
# make test, which checks the links of the pages instead.
. "$(dirname "$0")/env.sh"
set -eu

# The newest that Rust 1.95 builds.
MDBOOK_VERSION=${MDBOOK_VERSION:-0.5.4}

if ! command -v mdbook >/dev/null; then
    echo "building mdbook $MDBOOK_VERSION, once ..."
    cargo install --quiet --locked --root "$target/tools" --target-dir "$target/mdbook" \
        mdbook --version "$MDBOOK_VERSION"
fi
must "mdbook build" mdbook build "$root"

site=$target/site
broken=$(cd "$site" && find . -name '*.html' ! -name print.html ! -name toc.html ! -name 404.html | while read -r page; do
    grep -oE '(href|src)="[^"]+' "$page" | sed 's/^[a-z]*="//' | grep -vE '^([a-z]+:|//)' | sort -u |
        while read -r link; do
            file=${link%%#*}
            [ -n "$file" ] && path=$(dirname "$page")/$file || path=$page
            if [ ! -e "$path" ]; then
                echo "$page: $link leads nowhere"
            elif [ "$link" != "$file" ] && ! grep -qF "id=\"${link#*#}\"" "$path"; then
                echo "$page: $link: no such place"
            fi
        done
done)
checking "links of the book lead somewhere"
if [ -z "$broken" ]; then pass "$(find "$site" -name '*.html' | wc -l) pages"; else fail "$broken"; fi
echo "the book is target/site/index.html"
finish
