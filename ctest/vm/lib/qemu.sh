# SPDX-License-Identifier: MIT OR Apache-2.0
# Start QEMU, wait for it, cut it off when it hangs. Sourced.

# 9p share number N: tag, path, ro or rw.
share() {
    local ro=; [ "$3" = rw ] || ro=,readonly=on
    [[ $2 != *,* ]] || die "a shared path cannot contain a comma: $2"
    qemu+=(-fsdev "local,id=$1,path=$2,security_model=none,multidevs=remap$ro"
        -device "virtio-9p-pci,fsdev=$1,mount_tag=$1")
}

qemu_command() {
    local i
    # A guest must not outlive this script, however it ends.
    qemu=(setpriv --pdeathsig KILL "$QEMU"
        -nodefaults -no-user-config -display none -no-reboot "${machine[@]}" -kernel "$kernel" -initrd "$scratch/initrd")
    if [ "$accel" = kvm ]; then
        qemu+=(-accel kvm -cpu host)
    elif [ -n "$icount" ]; then
        qemu+=(-accel tcg,thread=single "${cpu[@]}" -icount shift=0)
    else
        qemu+=(-accel tcg,thread=multi "${cpu[@]}")
    fi
    if [ "$numa" = 1 ]; then
        qemu+=(-m "$memory" -smp "$cpus")
    else
        for ((i = 0; i < numa; i++)); do
            qemu+=(-object "memory-backend-ram,id=mem$i,size=$((memory / numa))M"
                -numa "node,nodeid=$i,memdev=mem$i")
        done
        qemu+=(-m $((memory / numa * numa)))
        for ((i = 0; i < cpus; i++)); do
            qemu+=(-numa "cpu,node-id=$((i % numa)),socket-id=$i")
        done
        qemu+=(-smp "$cpus,sockets=$cpus")
    fi
    share root "$TREE" ro
    share run "$run" rw
    [ "$KERNEL_ROOT" = "$TREE" ] || share kernel "$KERNEL_ROOT" ro
    for i in "${!shares[@]}"; do share "share$i" "${shares[i]}" ro; done
    for i in "${!works[@]}"; do share "work$i" "${works[i]}" rw; done
    if [ "$swap" -gt 0 ]; then
        truncate -s "${swap}M" "$run/swap"
        qemu+=(-drive "file=$run/swap,format=raw,if=none,id=swap,cache=unsafe"
            -device virtio-blk-pci,drive=swap,serial=kdreg-swap)
    fi
    # The kernel's console, the command's terminal, and QEMU's own monitor, by
    # which a guest that hangs is asked for its state.
    mkfifo "$run/monitor.in" "$run/monitor.out"
    qemu+=(-chardev "file,id=console,path=$run/console" -serial chardev:console
        -chardev stdio,id=terminal,signal=off "${terminal_device[@]}"
        -chardev "pipe,id=monitor,path=$run/monitor" -mon chardev=monitor)
    # loglevel: warnings show while booting, everything afterwards. An oops
    # ends the guest rather than leave it half alive; an NMI (see cut_off) does
    # too, after a report on all tasks and CPUs. Emulation is slow: lock-up and
    # stall detectors wait long enough not to go off for that alone.
    qemu+=(-append "console=$console loglevel=5 panic=-1 oops=panic $machine_append $(tsc_parameter) \
panic_sys_info=tasks,all_bt,locks watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120 \
log_buf_len=4M net.ifnames=0 ${append[*]}")
}

run_qemu() {
    timed_out= watcher=
    qemu_command
    qemu_pid=
    exec 8<>"$run/monitor.in" 7<>"$run/monitor.out" # or QEMU would wait for a peer
    if [ -n "$interactive" ]; then
        "${qemu[@]}" || true
        stty sane 2>/dev/null || true
        return 0
    fi
    "${qemu[@]}" </dev/null 2>"$run/qemu-errors" &
    qemu_pid=$!
    cut_off &
    watcher=$!
    wait "$qemu_pid" || true
    qemu_pid=
    kill "$watcher" 2>/dev/null || true
    wait "$watcher" 2>/dev/null || true
    watcher=
    [ ! -e "$run/timed-out" ] || timed_out=1
}

# nap S: until then, or until the watcher is told to go.
nap() {
    sleep "$1" &
    wait $!
}

# After the time to boot in, or the command's: have the kernel say what it is
# doing, then end it.
cut_off() {
    trap 'kill $! 2>/dev/null; exit' TERM
    local waited=0
    until [ -e "$run/begun" ] || [ "$waited" -ge "$boot_limit" ]; do
        nap 1
        waited=$((waited + 1))
    done
    if [ -e "$run/begun" ]; then
        [ "$timeout" -gt 0 ] || exit 0
        nap "$timeout"
    fi
    touch "$run/timed-out"
    printf 'nmi\n' >&8
    nap 20
    kill -KILL "$qemu_pid" 2>/dev/null
}

stop_qemu() {
    [ -z "${qemu_pid:-}" ] || kill -KILL "$qemu_pid" 2>/dev/null || true
    # It would keep the caller's pipes open for as long as the guest might have run.
    [ -z "${watcher:-}" ] || kill "$watcher" 2>/dev/null || true
}
