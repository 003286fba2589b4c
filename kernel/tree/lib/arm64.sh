# SPDX-License-Identifier: GPL-2.0-only
# Paths of the arm64 trees, and how packages get into them. Sourced, after
# common.sh.

# A tree of its own for ctest/vm/run: abi, stamps and trixie, the root.
ARM64=$STATE/arm64
ARM64_ROOT=$ARM64/trixie
# And one for `enter`, in which programs are built for it.
ARM64_PROGRAMS=$ARM64/programs

# The same version of the kernel as the tree's.
arm64_abi() {
    local abi; abi=$(kernel_abi)
    printf '%s\n' "${abi%amd64}arm64"
}

packages() { awk -v g="$1" '$1 == g { print $2 }' "$TREE_SCRIPTS/packages"; }

# apt for a machine that has nothing yet, with the archives of the tree:
# apt_for "ARCHITECTURE OTHER..." ARGUMENT...
apt_for() {
    local one options=(); local architectures=$1; shift
    for one in $architectures; do options+=(-o "APT::Architectures::=$one"); done
    "$TREE_SCRIPTS/enter" --bind "$ARM64" apt-get -q -y -o Dpkg::Use-Pty=0 \
        -o APT::Sandbox::User=root --no-install-recommends -o Acquire::Languages=none \
        -o APT::Architecture="${architectures%% *}" "${options[@]}" \
        -o Dir::State="$ARM64/apt" -o Dir::State::status="$ARM64/apt/status" \
        -o Dir::Cache="$ARM64/apt" "$@"
}

# unpack ROOT "ARCHITECTURE OTHER..." PACKAGE...: with all that they depend on.
# Unpacked, not installed: no arm64 program can run here. What installation
# scripts would have made is for the caller to make, where it is needed.
unpack() {
    local root=$1 architectures=$2 deb; shift 2
    rm -rf --one-file-system "$root" "$ARM64/apt"
    mkdir -p "$root" "$ARM64"/apt/{lists/partial,archives/partial}
    : >"$ARM64/apt/status"
    apt_for "$architectures" update || return
    apt_for "$architectures" --download-only install "$@" || return
    # The links of a merged /usr come first.
    for deb in "$ARM64"/apt/archives/base-files_*.deb "$ARM64"/apt/archives/*.deb; do
        dpkg-deb --extract "$deb" "$root" || return
    done
    rm -rf "$ARM64/apt"
    echo root:x:0:0:root:/root:/bin/bash >"$root/etc/passwd"
    echo nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin >>"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
    ln -sf mawk "$root/usr/bin/awk"
}
