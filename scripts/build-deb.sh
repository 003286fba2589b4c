# SPDX-License-Identifier: MIT OR Apache-2.0
# Builds the Debian packages into target/deb, from a copy of the sources, as
# debhelper leaves its products beside debian/. The library is the one in
# target/dist.
. "$(dirname "$0")/env.sh"
set -eu

for command in dh:debhelper dh_dkms:dh-dkms dpkg-buildpackage:dpkg-dev; do
    command -v "${command%:*}" >/dev/null ||
        die "${command%:*} is missing: install ${command#*:} (make prerequisites does, as root)"
done

out=$target/deb
source=$out/libkdreg-$version
rm -rf "$out"
mkdir -p "$source/target"
# What belongs to the sources: what git knows or would add, or else everything.
if git rev-parse --git-dir >/dev/null 2>&1; then
    git ls-files -z --cached --others --exclude-standard
else
    find . -path ./target -prune -o \( -type f -o -type l \) -print0
fi >"$out/files"
tar -c --null -T "$out/files" --ignore-failed-read 2>/dev/null | tar -x -C "$source"
rm "$out/files"
cp -a "$dist" "$source/target/dist"

cd "$source"
# Flags that a caller's build has would show in none of the products but in the
# time they take: there is nothing left to compile.
if ! env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS dpkg-buildpackage --build=binary --no-sign \
    --no-check-builddeps --build-profiles=pkg.libkdreg.prebuilt >"$out/build.log" 2>&1; then
    tail -n 30 "$out/build.log"
    die "the packages do not build; all that was said is in $out/build.log"
fi
cd "$root"
rm -rf "$source"
echo "packages in $out:"
(cd "$out" && ls -1 ./*.deb)
