# SPDX-License-Identifier: MIT OR Apache-2.0
# Read by test-packages.sh with `.`: clean Debian trees for it, each an overlay
# over the one that `make kernel-tree` made, which stays as it is. All mounts
# are in this script's own mount namespace.

KERNEL_TREE_DIR=${KERNEL_TREE_DIR:-$target/kernel}
lower=$KERNEL_TREE_DIR/trixie
# What is in the layers over it; choose_layers puts them on a file system that
# can bear them.
layers=$work/layers
# What the tests need in the tree besides, kept for the next run.
base=$layers/base
wanted="dkms pkgconf systemd"
# A kernel tree for kernel/tree/enter and ctest/vm/run, whose root is the overlay.
state=$work/state
merged=$state/trixie
upper=$layers/upper
touched=$layers/touched

# Layers cannot lie on an overlay, as in most containers: then they are in memory.
choose_layers() {
    mkdir -p "$layers" "$merged"
    mkdir -p "$layers/probe/upper" "$layers/probe/work"
    if mount -t overlay overlay -o "lowerdir=$lower,upperdir=$layers/probe/upper,workdir=$layers/probe/work" \
        "$merged" 2>/dev/null; then
        umount "$merged"
        rm -rf "$layers/probe"
    else
        rm -rf "$layers/probe"
        mount -t tmpfs tmpfs "$layers"
    fi
}

# overlay LOWER UPPER: mounts the two as the tree.
overlay() {
    rm -rf "$2" "$layers/work"
    mkdir -p "$2" "$layers/work"
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$layers/work" "$merged"
}

in_tree() {
    KERNEL_TREE_DIR=$state "$root/kernel/tree/enter" "$@"
}

apt_in_tree() {
    in_tree apt-get -q -y -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root --no-install-recommends "$@"
}

make_state() {
    rm -rf "$state"
    mkdir -p "$merged" "$state/stamps"
    cp "$KERNEL_TREE_DIR/abi" "$state/"
    cp "$KERNEL_TREE_DIR"/stamps/* "$state/stamps/"
    cp "$KERNEL_TREE_DIR"/kvm-* "$state/" 2>/dev/null || true
}

# The layer with dkms: as old as the tree below it, or made anew.
make_base() {
    key="$wanted $(cat "$lower/var/lib/dpkg/status" "$KERNEL_TREE_DIR"/stamps/* | cksum)"
    [ "$(cat "$base.key" 2>/dev/null)" != "$key" ] || return 0
    echo "installing $wanted over the kernel tree, once ..."
    overlay "$lower" "$base"
    {
        apt_in_tree update
        # shellcheck disable=SC2086 # one word per package
        apt_in_tree install $wanted
        apt_in_tree clean
        # dkms makes the machine's signing key with the first module it builds.
        in_tree sh -c 'if command -v openssl; then dkms generate_mok; fi'
    } >"$work/base.log" 2>&1 || {
        tail -n 20 "$work/base.log"
        die "$wanted cannot be installed in the tree (see $work/base.log)"
    }
    umount "$merged"
    printf '%s' "$key" >"$base.key"
}

# The tree as it is before the packages come.
fresh_tree() {
    overlay "$base:$lower" "$upper"
    # Mount points that `enter` makes, and the like, are no package's.
    in_tree true
    umount "$merged"
    rm -rf "$touched"
    mv "$upper" "$touched"
    overlay "$touched:$base:$lower" "$upper"
}

drop_tree() {
    umount "$merged"
}

# traces: what is different in the tree from what it was, by the layer that
# holds every change. Logs, caches and the package manager's own records of
# what it fetched and when may differ; its record of what is installed may not.
traces() {
    (cd "$upper" && find . -mindepth 1) | sed 's|^\./||' | sort | while read -r name; do
        case $name in
        var/log/* | var/cache/* | var/lib/apt/* | var/lib/dpkg/*-old | var/lib/dpkg/lock* | \
            var/lib/dpkg/triggers/* | tmp/*) continue ;;
        esac
        before=
        for layer in "$touched" "$base" "$lower"; do
            if [ -e "$layer/$name" ] || [ -L "$layer/$name" ]; then
                before=$layer/$name
                break
            fi
        done
        now=$upper/$name
        if [ -z "$before" ]; then
            # A file that came and went leaves nothing; a layer has no word for that.
            [ -c "$now" ] || echo "left behind: /$name"
        elif [ -c "$now" ] && [ ! -c "$before" ]; then
            echo "gone: /$name"
        elif [ -L "$now" ]; then
            [ "$(readlink "$now")" = "$(readlink "$before")" ] || echo "leads elsewhere: /$name"
        elif [ "$name" = var/lib/dpkg/status ]; then
            paragraphs "$before" >"$work/status.before"
            paragraphs "$now" >"$work/status.now"
            diff "$work/status.before" "$work/status.now" | sed 's|^|in dpkg/status: |'
        elif [ -f "$now" ] && ! cmp -s "$before" "$now"; then
            echo "changed: /$name"
        fi
    done
}

# dpkg writes its records in no particular order.
paragraphs() {
    awk 'BEGIN { RS = ""; FS = "\n" } { gsub(/\n/, "\\n"); print }' "$1" | sort
}
