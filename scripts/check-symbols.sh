# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: check-symbols.sh [LIBRARY]
# What libkdreg.so shows to the programs that link it, and what it asks of them.
. "$(dirname "$0")/env.sh"
set -eu

library=${1:-$dist/libkdreg.so}
work=$(mktemp -d "$target/symbols.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "$library:"

map_symbols >"$work/map"
checking "kdreg.map lists functions"
if [ -s "$work/map" ]; then pass "$(wc -l <"$work/map")"; else fail "none found in libkdreg/kdreg.map"; fi

# The nodes themselves are absolute symbols (A).
nm -D --defined-only --with-symbol-versions "$library" |
    awk '$2 != "A" { print $3 }' | sort >"$work/exported"
same "it exports those functions in those versions, and nothing else" "$work/map" "$work/exported"

# A function of the header must be in the library: what is declared and cannot
# be linked is worse than what is missing in both.
# shellcheck disable=SC2046 # one word per header
sed -n 's/^[a-z].*[ *]\(kdreg_[a-z_0-9]*\)(.*/\1/p' \
    include/kdreg.h $(find include/kdreg -name '*.h' 2>/dev/null) | grep -v '_fn$' |
    grep -vx kdreg_valid | sort -u >"$work/header"
sed 's/@@.*//' "$work/map" >"$work/names"
same "the headers declare the same functions" "$work/names" "$work/header"

# Weak symbols may stay unresolved; all others come with the version of a
# library that is there on every Linux.
checking "it needs nothing but libc and libgcc_s"
strangers=$(nm -D --undefined-only --with-symbol-versions "$library" |
    awk '$1 != "w" && $2 !~ /@(GLIBC|GCC)_/ { print $2 }')
if [ -z "$strangers" ]; then
    newest=$(nm -D --undefined-only --with-symbol-versions "$library" |
        sed -n 's/.*@GLIBC_//p' | sort -uV | tail -n 1)
    pass "the newest glibc symbol is of $newest"
else
    fail "$strangers"
fi
finish
