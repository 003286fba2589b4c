# SPDX-License-Identifier: MIT OR Apache-2.0
# Sourced, after env.sh, by scripts that mount: the script begins again in a mount
# namespace of its own, so its mounts end with it, however it ends.
if [ "${KDREG_OWN_MOUNTS:-}" != "$0" ]; then
    unshare --mount true 2>/dev/null || skip "cannot make a mount namespace (CAP_SYS_ADMIN)"
    KDREG_OWN_MOUNTS="$0" exec unshare --mount --propagation private sh "$0" "$@"
fi
