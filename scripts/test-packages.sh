# SPDX-License-Identifier: MIT OR Apache-2.0
# The packages of target/deb from one end to the other: lintian, installation
# in a clean Debian tree, a program built there, the module by dkms, a guest
# that boots with all of it, removal without a trace. Needs root, and the
# kernel tree (KERNEL_TREE_DIR), which it leaves alone.
. "$(dirname "$0")/env.sh"
set -eu

[ "$(id -u)" = 0 ] || skip "installing packages in a tree of their own needs root"
. "$root/scripts/own-mounts.sh"

work=$target/packages
mkdir -p "$work"
. "$root/scripts/packages-tree.sh"
[ -e "$KERNEL_TREE_DIR/stamps/prepare" ] || die "there is no kernel tree: run 'make kernel-tree' first"
kernel=$(cat "$KERNEL_TREE_DIR/abi")
names="libkdreg0 libkdreg-dev kdreg-tools kdreg-dkms"
# Where kdregd could be built.
for file in "$target/deb/kdreg-bpf_$version"_*.deb; do [ ! -f "$file" ] || names="$names kdreg-bpf"; done
debs=
for name in $names; do
    set -- "$target/deb/${name}_${version}"_*.deb
    [ -f "$1" ] || die "$name is not in target/deb: run 'make deb' first"
    debs="$debs $1"
done
# One that was asked for may be of a series that the module is not written for.
KDREG_KERNEL_SERIES=
[ -z "${KERNEL_SERIES:-}${KERNEL_ABI:-}" ] || KDREG_KERNEL_SERIES=$(echo "$kernel" | cut -d. -f1,2)

# says WHAT TEXT FILE
says() {
    checking "$1"
    if grep -qF "$2" "$3"; then
        pass
    else
        fail "no line has '$2':" "$(tail -n 30 "$3")"
    fi
}

install_packages() {
    # shellcheck disable=SC2086 # one word per package
    in_tree env KDREG_KERNEL_SERIES="$KDREG_KERNEL_SERIES" DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root --no-install-recommends install $debs
}
purge_packages() {
    # shellcheck disable=SC2086
    apt_in_tree purge $names
}
no_traces() {
    checking "no trace of them is left"
    left=$(traces)
    if [ -z "$left" ]; then pass; else fail "$left"; fi
}

# What systemd makes of the units; it leaves a file behind.
units_are_right() {
    in_tree sh -c 'systemd-analyze verify --man=no kdregd.service kdregd.socket; status=$?
        rm -f /run/systemd/systemd-units-load; exit $status'
}

# The program that a user builds: with what pkg-config says, in the tree.
build_smoke() {
    # shellcheck disable=SC2016 # for the shell in the tree
    in_tree sh -eu -c 'gcc -Wall -Werror -o "$2" "$1" $(pkg-config --cflags --libs kdreg)
        gcc -static -o "$2-static" "$1" $(pkg-config --static --cflags --libs kdreg)' \
        sh "$fixtures/smoke.c" "$work/smoke"
}
# It says which backend it had; without the module, that of a program here.
here=$("$dist/kdreg_info" --selected | sed -n 's/.*: //p')
smoke_runs() {
    for kind in '' -static; do
        checking "${kind:+static, }it runs on $here"
        output=$(in_tree "$work/smoke$kind" 2>&1) || output="$output (it failed)"
        case $output in *"backend $here") pass ;; *) fail "$output" ;; esac
    done
}

echo "the packages themselves:"
checking "versions agree: Cargo.toml, dkms.conf, CMake's file, the packages"
wrong=$(for file in kernel/dkms.conf:PACKAGE_VERSION= 'cmake/kdregConfigVersion.cmake:set(PACKAGE_VERSION '; do
    grep -qF "${file#*:}\"$version\"" "${file%%:*}" || echo "${file%%:*} does not say $version"
done)
if [ -z "$wrong" ]; then pass "$version"; else fail "$wrong"; fi
if command -v lintian >/dev/null; then
    must "lintian finds no error" lintian --profile debian --allow-root --no-tag-display-limit \
        --fail-on error "$target/deb/libkdreg_${version}_$(dpkg --print-architecture).changes"
else
    echo "  lintian is not installed: not run"
fi

make_state
choose_layers
make_base

echo "on kernels without Rust:"
fresh_tree
tree=usr/src/linux-$kernel
# Seen by dkms and by us: the kernel's answers, and no Rust among them.
for file in .config include/config/auto.conf; do
    sed -i 's/^CONFIG_RUST=y$/# CONFIG_RUST is not set/' "$merged/$tree/$file"
done
checking "kdreg-dkms installs all the same"
if install_packages >"$work/no-rust.log" 2>&1; then pass; else fail "$(tail -n 30 "$work/no-rust.log")"; fi
says "it tells which kernel lacks Rust" "no module for kernel $kernel: it was built without CONFIG_RUST" "$work/no-rust.log"
says "and that libkdreg uses userfaultfd" 'libkdreg uses userfaultfd' "$work/no-rust.log"
for file in .config include/config/auto.conf; do cp -p "$lower/$tree/$file" "$merged/$tree/$file"; done
rm "$merged/$tree/rust/libkernel.rmeta"
checking "likewise where the tree has no Rust metadata"
if in_tree env KDREG_KERNEL_SERIES="$KDREG_KERNEL_SERIES" dpkg-reconfigure -fnoninteractive kdreg-dkms >"$work/no-metadata.log" 2>&1; then
    pass
else
    fail "$(tail -n 30 "$work/no-metadata.log")"
fi
says "it tells what is missing" 'lacks its Rust metadata (rust/libkernel.rmeta)' "$work/no-metadata.log"
says "and how to come by it" 'make kernel-tree' "$work/no-metadata.log"
must "a program builds with what pkg-config says" build_smoke
smoke_runs
drop_tree

echo "on Debian's stock kernel, $kernel:"
fresh_tree
checking "the packages install, and dkms builds the module"
if install_packages >"$work/install.log" 2>&1; then pass; else fail "$(tail -n 30 "$work/install.log")"; fi
says "the kernel is said to have it" "kernel $kernel has the module" "$work/install.log"
must "modinfo finds it" in_tree modinfo -k "$kernel" kdreg
must "a program builds with what pkg-config says" build_smoke
smoke_runs
must "kdreg_info runs" in_tree kdreg_info --version
cat >"$work/guest" <<'G'
set -eu
# What systemd does with modules-load.d at boot.
modprobe -a $(sed '/^#/d' /usr/lib/modules-load.d/kdreg.conf)
kdreg_info --selected
KDREG_BACKEND=kernel "$1"
KDREG_BACKEND=kernel "$1-static"
# What dpkg does first when the package is removed. dkms has its turn when the
# packages are purged, and takes minutes in an emulated machine.
mkdir /tmp/without
ln -s /bin/true /tmp/without/dkms
PATH=/tmp/without:$PATH /var/lib/dpkg/info/kdreg-dkms.prerm remove
test ! -e /dev/kdreg
[ -x /usr/sbin/kdregd ] || exit 0
# Without the module a program is served by kdregd, which systemd starts when one asks. Of
# what else an installed system does nothing is wanted here.
for unit in udevd udev-trigger journald journal-flush tmpfiles-setup tmpfiles-setup-dev tmpfiles-setup-dev-early remount-fs \
    random-seed binfmt sysusers modules-load sysctl; do
    ln -s /dev/null /run/systemd/system/systemd-$unit.service
done
systemctl daemon-reload
systemctl start kdregd.socket
KDREG_BPF_TIMEOUT=600 kdreg_info --selected
KDREG_BPF_TIMEOUT=600 KDREG_BACKEND=bpf "$1"
systemctl is-active kdregd.service
# What its unit keeps from it must not cost it anything that it can do without one.
status=$(kdregd --status)
case $status in *'"outcome":"failed"'*)
    echo "under its unit kdregd cannot prove all:"
    echo "$status" | tr '{' '\n' | grep '"outcome":"failed"'
    exit 1
    ;;
esac
/var/lib/dpkg/info/kdreg-bpf.prerm remove
test ! -e /sys/fs/bpf/kdreg
echo "kdregd came and went"
G
checking "a guest boots with them; the program uses the module"
if KERNEL_TREE_DIR=$state "$root/ctest/vm/run" --systemd --log "$work/console.log" -- \
    sh "$work/guest" "$work/smoke" >"$work/guest.log" 2>&1; then pass; else fail "$(cat "$work/guest.log")"; fi
says "kdreg_info says so too" ': kernel' "$work/guest.log"
case $names in *kdreg-bpf*)
    says "kdregd serves it without the module, and goes with its package" "kdregd came and went" "$work/guest.log"
    says "kdreg_info says so of it" ': bpf' "$work/guest.log"
    must "systemd finds nothing wrong with its units" units_are_right
    ;;
esac
must "all are purged" purge_packages
no_traces
checking "a file left, one changed and one gone would have been noticed"
echo left >"$merged/etc/kdreg.conf"
echo changed >>"$merged/etc/hostname"
rm "$merged/usr/share/doc/pkgconf/copyright"
noticed=$(traces)
case $noticed in
"changed: /etc/hostname"*"left behind: /etc/kdreg.conf"*"gone: /usr/share/doc/pkgconf/copyright") pass ;;
*) fail "$noticed" ;;
esac
drop_tree
finish
