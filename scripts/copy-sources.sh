# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: copy-sources.sh DIRECTORY
# A copy of the sources for those who build packages beside them, with the
# library that is in target/dist.
. "$(dirname "$0")/env.sh"
set -eu

to=$1
[ -f "$dist/libkdreg.so" ] || die "there is no library in target/dist yet: run make first"
rm -rf "$to"
mkdir -p "$to/target"
list=$(mktemp "$target/sources.XXXXXX")
trap 'rm -f "$list"' EXIT
# What git knows or would add; all but target/ where the sources are no checkout.
if git rev-parse --git-dir >/dev/null 2>&1; then
    git ls-files --cached --others --exclude-standard
else
    find . -path ./target -prune -o \( -type f -o -type l \) -print
fi | while read -r file; do
    if [ -e "$file" ] || [ -L "$file" ]; then echo "$file"; fi
done >"$list"
tar -c -T "$list" | tar -x -C "$to"
cp -a "$dist" "$to/target/dist"
