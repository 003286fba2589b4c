# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: check-archive.sh [LIBRARY]
# libkdreg.a is linked into programs next to libraries nobody here knows.
. "$(dirname "$0")/env.sh"
set -eu

library=${1:-$dist/libkdreg.a}
work=$(mktemp -d "$target/archive.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "$library:"

map_symbols | sed 's/@@.*//' >"$work/map"
nm -g --defined-only "$library" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort >"$work/global"
same "its global symbols are the functions of kdreg.map" "$work/map" "$work/global"

checking "its stack is not executable"
if readelf -SW "$library" | grep -q '\.note\.GNU-stack .* X '; then
    fail "a member asks for an executable stack"
else
    pass
fi

# Another library that is written in Rust, with the same standard library in
# it: whatever both leave global would be defined twice.
must "a neighbour in Rust compiles" rustc --edition 2024 --crate-type staticlib -O \
    "$fixtures/neighbour.rs" -o "$work/libneighbour.a"
for order in "$library $work/libneighbour.a" "$work/libneighbour.a $library"; do
    # shellcheck disable=SC2086 # one word per library
    must "both link into one program ($(basename "${order%% *}") first)" "$CC" -Iinclude \
        "$fixtures/neighbours.c" $order -lpthread -ldl -lm -o "$work/neighbours"
    must "and it runs: a panic in each stays inside" timeout 60 "$work/neighbours"
done
finish
