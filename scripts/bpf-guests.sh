# SPDX-License-Identifier: MIT OR Apache-2.0
# Read after env.sh by what runs tests under kdregd on stock kernels, in a guest for
# each, mode by mode: what that takes, and what came of it. $subject is what is tested,
# $work where.
. "$(dirname "$0")/guest-tests.sh"

modes=${BPF_MODES:-notifier flush}
only=${BPF_TESTS:-.}
build=$target/ctest
daemon=$dist/kdregd

# What is not to be had here is no failure of what is tested, but it is said
# loudly: stages.sh knows the words.
not_run() {
    echo "NOT RUN: $subject: $1"
    exit 1
}

# Ends the script where guests cannot have it.
guests_can_run() {
    [ "$(id -u)" = 0 ] || not_run "the guest's root is the Debian tree of make kernel-tree, which only root can enter"
    [ -x "$daemon" ] || not_run "kdregd is left out; missing: $(sh "$root/scripts/kdregd-lacks.sh")"
    PATH=$PATH:/usr/sbin
    command -v bpftool >/dev/null || not_run "bpftool is not installed (Debian: bpftool)"
}

# A new directory for what the guests run. Their tree has no bpftool.
begin_work() {
    rm -rf "$work"
    mkdir -p "$work"
    cp "$(command -v bpftool)" "$work/bpftool"
}

# script FILE SECONDS: what comes on standard input.
script() {
    { printf '#!/bin/sh\n# timeout: %s\n' "$2"; cat; } >"$1"
    chmod +x "$1"
}

# environment MODE: what a test under its kdregd begins with. Limits are there for what
# hangs, not for a machine that is busy.
environment() {
    echo "export PATH=$work:\$PATH KDREGD='$daemon' KDREGD_MODE=$1 KDREG_BPF_TIMEOUT=600"
}

# when_offered MODE COMMAND: such a test.
when_offered() {
    environment "$1"
    printf "'%s' offered || exit\nexport KDREG_BACKEND=bpf\n%s\n" "$root/ctest/bpf/daemon" "$2"
}

# under_kdregd PREFIX MODE SECONDS [BEFORE]: starts a mode's kdregd before the tests
# whose names begin like that, and ends it after them.
under_kdregd() {
    local name before=${4:-}
    for name in 00-start 90-uninstall 91-left; do
        { environment "$2"; printf "%s\nexec '%s' %s\n" "$before" "$root/ctest/bpf/daemon" "${name#*-}"; } |
            script "$1-$name" "$3"
        before=
    done
}

# stock KERNEL: whether there is such a kernel; why not is in its .words.
stock() {
    kernel/tree/stock-kernel "$1" >"$work/$1.kernel" 2>"$work/$1.words"
}

# guest KERNEL OPTION...: what is in its directory in a guest, and what came of it.
guest() {
    local kernel=$1 dir=$work/$1 start=$SECONDS status=0
    shift
    ctest/vm/run --kernel-package "$kernel" --dev-kvm --memory 3072 --share "$target" "$@" \
        --timeout 7200 --log "$work/$kernel.console" --tests "$dir" >"$work/$kernel.log" 2>&1 || status=$?
    if [ ! -s "$dir/results.txt" ]; then
        fail "no test ran" "$(tail -n 30 "$work/$kernel.log")"
        return
    fi
    results "$dir" "$(cut -d' ' -f2 "$work/$kernel.kernel") "
    [ $status = 0 ] || [ $failures -gt 0 ] ||
        fail "the guest ended with status $status" "$(tail -n 20 "$work/$kernel.log")"
    echo "  the guest took $((SECONDS - start)) s"
}
