# SPDX-License-Identifier: MIT OR Apache-2.0
# Paths and messages of the guest rig's host side. Sourced, with VM set.

REPO=$(cd "$VM/../.." && pwd -P)
STATE=${KERNEL_TREE_DIR:-$REPO/target/kernel}
# Its programs run on the host: packing an initial file system takes one.
BUSYBOX=$STATE/trixie/bin/busybox

say() { printf 'vm: %s\n' "$*" >&2; }
die() { say "$*"; exit 125; }

require_tree() {
    [ -s "$STATE/abi" ] && [ -e "$STATE/stamps/prepare" ] ||
        die "there is no guest system yet: run 'make $([ "$arch" = arm64 ] && echo arm64 || echo kernel)-tree'"
    ABI=$(cat "$STATE/abi")
    KERNEL_ROOT=$TREE
    STOCK_KERNEL=$TREE/usr/lib/modules/$ABI/vmlinuz
    [ -r "$STOCK_KERNEL" ] || die "cannot read $STOCK_KERNEL: run as root, or 'make kernel-tree' again"
}

# Which kernel is booted: the tree's own, another file, or another package, whose
# modules are then those of KERNEL_ROOT.
choose_kernel() {
    local found=
    if [ -n "$kernel_package" ]; then
        found=$("$REPO/kernel/tree/stock-kernel" "$kernel_package") ||
            die "there is no kernel package $kernel_package"
    elif [ "$pages" = 16k ]; then
        found=$("$REPO/kernel/tree/arm64-16k") || die "there is no arm64 kernel with pages of 16 KiB"
    fi
    if [ -n "$found" ]; then
        KERNEL_ROOT=${found% *} ABI=${found##* }
        STOCK_KERNEL=$KERNEL_ROOT/usr/lib/modules/$ABI/vmlinuz
    fi
    kernel=${kernel:-$STOCK_KERNEL}
}

require_qemu() {
    command -v "$QEMU" >/dev/null || die "$QEMU is missing: run ctest/vm/prerequisites $arch"
}
