# SPDX-License-Identifier: MIT OR Apache-2.0
# What a distribution does: Debian 13's own compiler takes everything; the source
# archive is the same bytes wherever it is made; Debian's packages and the RPM are
# built from it in a clean Debian tree, with nothing but Debian's packages and no
# network. Needs root, and the kernel tree (KERNEL_TREE_DIR), which it leaves alone.
. "$(dirname "$0")/env.sh"
set -eu

[ "$(id -u)" = 0 ] || skip "installing packages in a tree of their own needs root"
git rev-parse --git-dir >/dev/null 2>&1 || skip "this is no git checkout"
. "$root/scripts/own-mounts.sh"

work=$target/distribution
mkdir -p "$work"
. "$root/scripts/packages-tree.sh"
[ -e "$KERNEL_TREE_DIR/stamps/prepare" ] || die "there is no kernel tree: run 'make kernel-tree' first"
# debian/control's build dependencies, what every build has, and what builds RPMs.
wanted=$(sed -n '/^Build-Depends:/,/^[A-Z]/{ s/^ \([a-z][a-z0-9-]*\).*/\1/p }' debian/control | sed 's/^debhelper-compat$/debhelper/')
wanted="$(echo "$wanted" | tr "\n" " ")build-essential rpm"

# logged WHAT LOG COMMAND...: a check that passes when the command does; what it says goes to LOG.
logged() {
    checking "$1"
    log=$work/$2
    shift 2
    if "$@" >"$log" 2>&1; then pass; else fail "$*" "$(tail -n 30 "$log")"; fi
}

make_state
choose_layers
make_base
fresh_tree
# What the host's cargo has fetched, without a network; products apart from the host's.
cargo=${CARGO_HOME:-$HOME/.cargo}
cargo fetch --quiet --locked
debian_cargo() {
    KERNEL_TREE_DIR=$state "$root/kernel/tree/enter" --bind "$cargo/registry" -- \
        env CARGO_HOME="$cargo" CARGO_TARGET_DIR="$work/cargo" CARGO_PROFILE_DEV_DEBUG=0 cargo "$@"
}
offline() {
    unshare --net "$root/kernel/tree/enter" "$@"
}

echo "with $(in_tree rustc --version) of Debian:"
checking "that is the oldest that Cargo.toml names"
oldest=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
case $(in_tree rustc --version) in "rustc $oldest."*) pass "$oldest" ;; *) fail "Cargo.toml says $oldest" ;; esac
logged "library, programs, preloads, benchmark and all their tests compile" check.log \
    debian_cargo check --workspace --all-targets --locked --offline
logged "the library's unit tests pass" test.log debian_cargo test -p libkdreg --lib --locked --offline

echo "the source archive:"
archive=$work/libkdreg-$version.tar.gz
logged "make dist" dist.log sh scripts/dist.sh "$archive"
# Another place, other rights, another day of the week.
rm -rf "$work/elsewhere"
git clone -q --no-hardlinks "$root" "$work/elsewhere"
mkdir "$work/elsewhere/target"
logged "and in another place" dist-elsewhere.log sh -c \
    'umask 077; cd "$1" && TZ=Asia/Tokyo LC_ALL=C.UTF-8 sh scripts/dist.sh "$2"' sh "$work/elsewhere" "$work/elsewhere.tar.gz"
must "both are the same, byte for byte" cmp "$archive" "$work/elsewhere.tar.gz"
rm -rf "$work/elsewhere"
[ $failures -eq 0 ] || finish

echo "from it, without a network:"
source=$work/libkdreg-$version
rm -rf "$source" "$work"/*.deb "$work/rpm"
tar -xzf "$archive" -C "$work"
export KERNEL_TREE_DIR="$state"
# shellcheck disable=SC2016 # for the shell in the tree
logged "dpkg-buildpackage" deb.log offline sh -c 'cd "$1" && dpkg-buildpackage --build=binary --no-sign' sh "$source"
checking "the packages are there"
built=$(cd "$work" && ls ./*.deb 2>/dev/null | grep -vc dbgsym)
if [ "$built" = "$(grep -c ^Package: debian/control)" ]; then pass "$built"; else fail "$(ls "$work")"; fi
checking "kdregd is in one of them, with its BPF programs"
if dpkg-deb --fsys-tarfile "$work/kdreg-bpf_$version"_*.deb | tar -xO ./usr/sbin/kdregd >"$work/kdregd" &&
    grep -aq 'fentry/' "$work/kdregd"; then
    pass "$(wc -c <"$work/kdregd") bytes"
else
    fail "$(tail -n 30 "$work/deb.log")"
fi
rm -rf "$source"
mkdir -p "$work/rpm/SOURCES"
cp "$archive" "$work/rpm/SOURCES/"
# Debian has no RPMs to depend on, and no macros for these directories. Debian's packages
# have what link-time optimization makes of it; again it would take some minutes more.
logged "rpmbuild" rpm.log offline env CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 rpmbuild -bb --nodeps --define "_topdir $work/rpm" \
    --define "_udevrulesdir /usr/lib/udev/rules.d" --define "_modulesloaddir /usr/lib/modules-load.d" \
    --define "_unitdir /usr/lib/systemd/system" packaging/rpm/libkdreg.spec
checking "the packages are there"
built=$(find "$work/rpm/RPMS" -name '*.rpm' 2>/dev/null | wc -l)
if [ "$built" = $(($(grep -c ^%package packaging/rpm/libkdreg.spec) + 1)) ]; then pass "$built"; else fail "$(tail -n 30 "$work/rpm.log")"; fi
rm -rf "$work/rpm/BUILD" "$work/rpm/BUILDROOT"
drop_tree
finish
