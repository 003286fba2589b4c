# SPDX-License-Identifier: MIT OR Apache-2.0
# What differs between the machines that can be emulated. Sourced, after
# common.sh. Sets QEMU (the emulator), machine and cpu (its arguments),
# console, terminal (the command's, as the guest calls it), terminal_device
# (arguments) and machine_append (kernel parameters).

choose_machine() {
    cpu=(-cpu max)
    case $arch in
    amd64)
        QEMU=qemu-system-x86_64
        machine=(-machine q35)
        console=ttyS0,115200 terminal=/dev/ttyS1
        terminal_device=(-serial chardev:terminal)
        # By an NMI a guest that hangs is made to report. Where others keep the
        # processors, the timer's interrupts come late, not never.
        machine_append="unknown_nmi_panic tsc=nowatchdog no_timer_check"
        # The emulator takes every byte of "rep movsb" for an instruction.
        # Without these features the kernel copies eight bytes at a time.
        [ -z "$icount" ] || cpu=(-cpu max,-erms,-fsrm) ;;
    arm64)
        QEMU=qemu-system-aarch64
        machine=(-machine virt,gic-version=3)
        # Signing pointers by the architecture's own cipher takes most of the time.
        cpu=(-cpu max,pauth-impdef=on)
        console=ttyAMA0 terminal=/dev/ttyS0
        terminal_device=(-device pci-serial,chardev=terminal)
        machine_append=
        # The arm64 tree is beside the one that builds for it.
        STATE=$STATE/arm64 ;;
    *) die "--arch takes amd64 or arm64, not '$arch'" ;;
    esac
    TREE=$STATE/trixie
}
