# SPDX-License-Identifier: MIT OR Apache-2.0
# The Debian packages for arm64, cross-built from what build-arm64.sh made, into
# target/arm64/deb, and what lintian says of them. In a clean Debian tree that has
# arm64 for a foreign architecture; kdregd is left out. Needs root, and the kernel
# trees (KERNEL_TREE_DIR), which it leaves alone.
. "$(dirname "$0")/env.sh"
set -eu

[ "$(id -u)" = 0 ] || skip "installing packages in a tree of their own needs root"
. "$root/scripts/own-mounts.sh"

work=$target/arm64/packages
out=$target/arm64/deb
export KDREG_DIST="$target/arm64/dist"
[ -f "$KDREG_DIST/libkdreg.so" ] || die "the library for arm64 is not built: run 'make arm64-programs' first"
mkdir -p "$work"
. "$root/scripts/packages-tree.sh"

prepare() {
    choose_layers
    make_state
    overlay "$lower" "$upper"
    in_tree dpkg --add-architecture arm64
    apt_in_tree update
    # Of the host architecture: what the packages depend on, for its symbols.
    apt_in_tree install debhelper dh-dkms dpkg-dev binutils-aarch64-linux-gnu lintian libc6:arm64 libgcc-s1:arm64
}

rm -rf "$out"
source=$out/libkdreg-$version
checking "a Debian tree with what they are built by"
if prepare >"$work/prepare.log" 2>&1; then pass; else fail "$(tail -n 20 "$work/prepare.log")"; finish; fi
checking "it is foreign there"
foreign=$(in_tree dpkg --print-foreign-architectures)
if [ "$foreign" = arm64 ]; then pass; else fail "$foreign"; fi

sh scripts/copy-sources.sh "$source"
# debian/rules is a makefile of its own: nothing of this make's for it.
# shellcheck disable=SC2016 # for the shell in the tree
must "they build" in_tree env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS -u KDREG_DIST sh -eu -c 'cd "$1"
    dpkg-buildpackage --host-arch arm64 --build=binary --no-sign --no-check-builddeps \
        --build-profiles=cross,nocheck,pkg.libkdreg.prebuilt,pkg.libkdreg.nobpf' sh "$source"
for deb in "$out"/*_arm64.deb; do
    checking "${deb##*/} is for arm64, and so are its programs"
    rm -rf "$work/unpacked"
    dpkg-deb --extract "$deb" "$work/unpacked" 2>"$work/unpacked.log" || fail "$(cat "$work/unpacked.log")"
    wrong=$(find "$work/unpacked" -type f -exec sh -c 'head -c 20 "$1" | od -An -tx1 | tr -d " \n" | grep -q "^7f454c46" || exit 0
        head -c 20 "$1" | od -An -tx1 -j18 -N2 | grep -q "b7 00" || echo "$1"' sh {} \;)
    if [ -z "$wrong" ]; then pass; else fail "$wrong"; fi
done
must "lintian finds no error" in_tree lintian --profile debian --allow-root --no-tag-display-limit --fail-on error \
    "$out"/*.changes
ls "$out"/*.deb | sed 's|.*/|  |'
drop_tree
rm -rf "$source" "$work/unpacked"
finish
