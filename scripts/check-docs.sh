# SPDX-License-Identifier: MIT OR Apache-2.0
# The documents: relative links lead somewhere, those of docs/ within docs/, which
# is a book; README.md is short, and has what was linked to once; pictures are
# current, and the functions and constants that are named exist.
. "$(dirname "$0")/env.sh"
set -eu

git rev-parse --git-dir >/dev/null 2>&1 || skip "this is no git checkout"
work=$target/check-docs
mkdir -p "$work"

# anchors FILE: what its headings are called in a link.
anchors() {
    awk '/^```/ { code = !code } !code && /^#+ / { sub(/^#+ /, ""); print tolower($0) }' "$1" |
        sed 's/[^a-z0-9 _-]//g; s/ /-/g'
    grep -oE '<a id="[^"]+' "$1" | sed 's/.*"//' || true
}

# links FILE: the target of each relative link and picture, code left out.
links() {
    awk '/^```/ { code = !code; next } !code' "$1" | sed 's/`[^`]*`//g' |
        grep -oE '\]\([^) ]+|(src|href)="[^"]+' | sed 's/^](//; s/^[a-z]*="//' |
        grep -vE '^[a-z]+:' || true
}

total=0
broken=$(git ls-files --cached --others --exclude-standard '*.md' | while read -r page; do
    [ ! -L "$page" ] || continue
    links "$page" | while read -r link; do
        file=${link%%#*}
        [ -n "$file" ] && path=$(dirname "$page")/$file || path=$page
        if [ ! -e "$path" ]; then
            echo "$page: $link leads nowhere"
        elif [ "$link" != "$file" ] && ! anchors "$path" | grep -qx -- "${link#*#}"; then
            echo "$page: $link: no such heading"
        fi
        case $page:$link in docs/*:../*) echo "$page: $link is no part of the book" ;; esac
    done
done)
total=$(git ls-files --cached --others --exclude-standard '*.md' | while read -r page; do links "$page"; done | wc -l)
checking "relative links in the documents"
if [ -n "$broken" ]; then fail "$broken"; elif [ "$total" -eq 0 ]; then fail "none found"; else pass "$total"; fi

checking "README.md is of 200 lines and 12 KB at most"
lines=$(wc -l <README.md)
bytes=$(wc -c <README.md)
if [ "$lines" -le 200 ] && [ "$bytes" -le 12288 ]; then pass "$lines lines, $bytes bytes"; else fail "$lines lines, $bytes bytes"; fi
checking "every heading that it had once is there to be linked to"
anchors README.md >"$work/anchors"
gone=$(grep -v '^#' scripts/fixtures/readme-anchors | grep -vxFf "$work/anchors" || true)
if [ -z "$gone" ]; then pass; else fail "$gone"; fi
checking "docs/SUMMARY.md has every page, once"
links docs/SUMMARY.md | sort >"$work/chapters"
git ls-files --cached --others --exclude-standard 'docs/*.md' | sed 's|^docs/||' | grep -vx SUMMARY.md | sort >"$work/pages"
if output=$(diff "$work/pages" "$work/chapters"); then pass "$(wc -l <"$work/pages")"; else fail "$output"; fi

# Names of the interface, and what is like them but is none of it.
cat include/*.h include/kdreg/*.h 2>/dev/null | grep -oE '\b(kdreg2?_[a-z0-9_]+|KDREG2?_[A-Z0-9_]+)' | sort -u >"$work/known"
grep -rhoE '"KDREG_[A-Z_]+"' libkdreg/src libkdreg/tests preload | tr -d '"' >>"$work/known"
grep -rhoE '\$\{KDREG_[A-Z_]+' scripts | cut -c3- >>"$work/known"
grep -ohE '\bkdreg::[a-z_]+' cmake/*.cmake | sed 's/.*:://' >>"$work/known"
ls man | sed 's/\.[1-9]$//' >>"$work/known"
ls tools >>"$work/known"
sort -u -o "$work/known" "$work/known"
unknown=$(grep -noE '\b(kdreg2?_[a-z0-9_]+|KDREG2?_[A-Z0-9_]+)' README.md docs/*.md CONTRIBUTING.md SECURITY.md |
    while IFS=: read -r file line word; do
        case $word in *_) continue ;; esac
        grep -qx "$word" "$work/known" || echo "$file:$line: $word"
    done)
checking "functions and constants that they name exist"
if [ -z "$unknown" ]; then pass; else fail "$unknown"; fi

checking "docs/migrating.md has a row for all that rcache.h and ofi_mr.h offer"
missing=$(grep -v '^#' scripts/fixtures/peer-names | while read -r name; do
    grep '^|' docs/migrating.md | grep -qwF -- "$name" || echo "$name"
done)
if [ -z "$missing" ]; then pass "$(grep -vc '^#' scripts/fixtures/peer-names)"; else fail "$missing"; fi

# What CONTRIBUTING.md tells to run is there to be run.
targets=$(grep -oE '`make [a-z0-9 -]+' CONTRIBUTING.md | sed 's/`make //' | tr ' ' '\n' | sort -u)
checking "make targets of CONTRIBUTING.md"
# shellcheck disable=SC2086 # one word per target
if output=$(make -n $targets 2>&1 >/dev/null); then pass; else fail "$output"; fi

sh scripts/pictures.sh check || failures=$((failures + 1))
finish
