# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: localise.sh IN.a OUT.a
#
# Makes of rustc's static library one whose only global symbols are those of
# kdreg.map. rustc leaves parts of its standard library global; a program that
# links two static libraries written in Rust would get "multiple definition of
# rust_eh_personality".
. "$(dirname "$0")/env.sh"
set -eu

in=$1
out=$2
work=$(mktemp -d "$target/localise.XXXXXX")
trap 'rm -rf "$work"' EXIT

map_symbols | sed 's/@@.*//' >"$work/keep"
sed 's/^/--undefined=/' "$work/keep" >"$work/roots"
# One object of all that the functions reach. Section groups go, as a group
# that another library has too would be dropped together with the symbols that
# are about to become local.
${LD:-ld} -r --force-group-allocation @"$work/roots" -o "$work/kdreg.o" "$in"
${OBJCOPY:-objcopy} --keep-global-symbols="$work/keep" "$work/kdreg.o"
rm -f "$out"
${AR:-ar} rcsD "$out" "$work/kdreg.o"
