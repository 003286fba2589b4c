# SPDX-License-Identifier: GPL-2.0-only
# Paths, messages and stamps shared by the kernel-tree scripts. Sourced.

TREE_SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
REPO=$(cd "$TREE_SCRIPTS/../.." && pwd -P)

# Everything that is downloaded or built lives here; several checkouts may
# share one by setting KERNEL_TREE_DIR.
STATE=${KERNEL_TREE_DIR:-$REPO/target/kernel}
ROOT=$STATE/trixie
STAMPS=$STATE/stamps

# The ABI name (such as 7.2.12+deb13-amd64) that the tree was made for.
ABI_FILE=$STATE/abi

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
die() { printf 'kernel-tree: %s\n' "$*" >&2; exit 1; }

# step NAME DESCRIPTION FUNCTION: run FUNCTION once. The stamp is written only
# after it succeeded, so an interrupted step is redone from its beginning. A
# stamp counts only while the inputs it names (argument 4 on) are unchanged.
step() {
    local name=$1 what=$2 fn=$3; shift 3
    local key="$*" start=$SECONDS
    if [ -e "$STAMPS/$name" ] && [ "$(cat "$STAMPS/$name")" = "$key" ]; then
        return 0
    fi
    say "$what"
    rm -f "$STAMPS/$name"
    # Not "fn || die": that would switch errexit off inside the function.
    "$fn"
    printf '%s' "$key" >"$STAMPS/$name"
    say "$what: done in $((SECONDS - start)) s"
}

need_root() {
    [ "$(id -u)" = 0 ] ||
        die "$1 needs root (debootstrap, chroot and mounts): run it with sudo"
}

# free_mib DIR: what is left on DIR's file system.
free_mib() { df -Pm "$1" | awk 'NR == 2 { print $4 }'; }

kernel_abi() {
    [ -s "$ABI_FILE" ] || die "there is no kernel tree yet: run 'make kernel-tree' first"
    cat "$ABI_FILE"
}
