# SPDX-License-Identifier: MIT OR Apache-2.0
# Paths and messages of the guest rig's host side. Sourced, with VM set.

REPO=$(cd "$VM/../.." && pwd -P)
STATE=${KERNEL_TREE_DIR:-$REPO/target/kernel}
TREE=$STATE/trixie

say() { printf 'vm: %s\n' "$*" >&2; }
die() { say "$*"; exit 125; }

require_tree() {
    [ -s "$STATE/abi" ] && [ -e "$STATE/stamps/prepare" ] ||
        die "there is no guest system yet: run 'make kernel-tree'"
    ABI=$(cat "$STATE/abi")
    STOCK_KERNEL=$TREE/usr/lib/modules/$ABI/vmlinuz
    [ -r "$STOCK_KERNEL" ] || die "cannot read $STOCK_KERNEL: run as root, or 'make kernel-tree' again"
}

require_qemu() {
    command -v qemu-system-x86_64 >/dev/null ||
        die "qemu-system-x86_64 is missing: run ctest/vm/prerequisites"
}
