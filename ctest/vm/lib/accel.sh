# SPDX-License-Identifier: MIT OR Apache-2.0
# KVM or TCG? /dev/kvm can be there and still fail once a guest executes its
# first instructions (nested virtualisation does), so only a guest that
# really came up counts. The answer is kept until the host reboots. Sourced.

choose_accel() {
    case $accel in
    kvm | tcg) ;;
    auto)
        accel=tcg
        if [ "$arch" = amd64 ] && [ -z "$icount" ] && kvm_works; then accel=kvm; fi ;;
    *) die "--accel takes kvm or tcg, not '$accel'" ;;
    esac
    [ -z "$icount" ] || [ "$accel" = tcg ] || die "--icount needs --accel tcg"
}

kvm_works() {
    [ -r /dev/kvm ] && [ -w /dev/kvm ] || return 1
    local memo; memo=$STATE/kvm-$(cat /proc/sys/kernel/random/boot_id)
    if [ ! -s "$memo" ]; then
        say "Trying whether a guest boots with KVM"
        rm -f "$STATE"/kvm-*
        if probe_kvm; then echo yes >"$memo"; else echo no >"$memo"; fi
        say "KVM works: $(cat "$memo")"
    fi
    [ "$(cat "$memo")" = yes ]
}

probe_kvm() {
    local dir out=1; dir=$(mktemp -d "${TMPDIR:-/tmp}/kdreg-kvm.XXXXXX")
    build_initrd "$STOCK_KERNEL" "$dir/initrd"
    # In a subshell of its own: bash would report that QEMU was aborted.
    (timeout -k 1 20 qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
        -machine q35 -accel kvm -cpu host -m 512 -serial "file:$dir/log" \
        -kernel "$STOCK_KERNEL" -initrd "$dir/initrd" \
        -append "console=ttyS0 panic=-1 kdreg.probe" ; true) \
        </dev/null >/dev/null 2>&1
    grep -q '^kdreg-guest-boots' "$dir/log" 2>/dev/null && out=0
    rm -rf "$dir"
    return $out
}
