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
sh scripts/copy-sources.sh "$source"

# kdregd is optional: its own build says what it lacks here.
profiles=pkg.libkdreg.prebuilt
if [ ! -f "$dist/kdregd" ]; then
    echo "kdreg-bpf is left out: there is no kdregd (make kdregd says why)"
    profiles=$profiles,pkg.libkdreg.nobpf
fi

cd "$source"
# debian/rules is a makefile of its own: nothing of this make's for it.
if ! env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS dpkg-buildpackage --build=binary --no-sign \
    --no-check-builddeps --build-profiles="$profiles" >"$out/build.log" 2>&1; then
    tail -n 30 "$out/build.log"
    die "the packages do not build; all that was said is in $out/build.log"
fi
cd "$root"
rm -rf "$source"
echo "packages in $out:"
(cd "$out" && ls -1 ./*.deb)
