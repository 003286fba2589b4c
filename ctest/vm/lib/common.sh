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
    STOCK_KERNEL=$TREE/usr/lib/modules/$ABI/vmlinuz
    [ -r "$STOCK_KERNEL" ] || die "cannot read $STOCK_KERNEL: run as root, or 'make kernel-tree' again"
}

require_qemu() {
    command -v "$QEMU" >/dev/null || die "$QEMU is missing: run ctest/vm/prerequisites $arch"
}
