# SPDX-License-Identifier: MIT OR Apache-2.0
# What a run can ask for in its guest. Sourced by guest/main.

complain() {
    echo "guest: $*" >/dev/console
    echo "guest: $*" >"$terminal"
    return 1
}

# setting VALUE FILE: where this kernel has it
setting() { [ ! -e "$2" ] || echo "$1" >"$2"; }

setup() {
    file_systems && shared_directories || return
    no_deadline_servers
    [ "$swap" = 0 ] || swap_disk || return
    [ "$hugepages" = 0 ] || huge_pages || return
    [ -z "$ksm" ] || same_page_merging || return
    if [ -n "$restless" ]; then move_pages; else leave_pages; fi || return
    [ -z "$rdma" ] || soft_roce || return
    [ -z "$dev_kvm" ] || virtualisation || return
    # What dies from here on is not booted again.
    touch "$run/begun"
    [ -z "$module" ] || insert_module || return
    # Leaks of before the run are not the run's.
    [ ! -e /sys/kernel/debug/kmemleak ] || echo clear >/sys/kernel/debug/kmemleak
}

file_systems() {
    mkdir -p /dev/pts /dev/shm
    mount -t devpts devpts /dev/pts
    mount -t tmpfs tmpfs /dev/shm
    mount -t tmpfs tmpfs /tmp
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    echo "+memory +pids" >/sys/fs/cgroup/cgroup.subtree_control
    mount -t debugfs debugfs /sys/kernel/debug
    # Where this kernel has them.
    mount -t tracefs tracefs /sys/kernel/tracing
    mount -t bpf -o mode=700 bpf /sys/fs/bpf
    # As an installed kernel's is.
    local config; config=/usr/lib/modules/$(uname -r)/config
    [ ! -e "$config" ] || [ -e "/boot/config-$(uname -r)" ] || ln -s "$config" "/boot/config-$(uname -r)"
    ln -sfn /proc/self/fd /dev/fd
    ln -sfn /proc/self/fd/0 /dev/stdin
    ln -sfn /proc/self/fd/1 /dev/stdout
    ln -sfn /proc/self/fd/2 /dev/stderr
    ip link set lo up
    # As every machine knows it; what Debian's own tools leave in /etc differs.
    grep -qs localhost /etc/hosts || echo "127.0.0.1 localhost" >>/etc/hosts
    hostname kdreg-guest
}

# A processor of an emulated machine can stand still for seconds while another
# goes on. The scheduler's deadline servers do not allow for that: a timer of
# theirs is found to be set already, with a warning (hrtimer_forward, called by
# dl_task_timer). They are there for real-time processes that never sleep.
no_deadline_servers() {
    local runtime
    for runtime in /sys/kernel/debug/sched/*_server/cpu*/runtime; do
        setting 0 "$runtime" 2>/dev/null
    done
    return 0
}

share_options=trans=virtio,version=9p2000.L,msize=512000

shared_directories() {
    local i
    for i in "${!share_paths[@]}"; do
        mkdir -p "${share_paths[i]}"
        mount -t 9p -o "$share_options,ro,cache=loose" "share$i" "${share_paths[i]}" ||
            complain "cannot mount ${share_paths[i]}" || return
    done
    for i in "${!work_paths[@]}"; do
        mkdir -p "${work_paths[i]}" 2>/dev/null
        # The host writes here too: nothing may be kept in a cache.
        mount -t 9p -o "$share_options,cache=none" "work$i" "${work_paths[i]}" ||
            complain "cannot mount ${work_paths[i]}" || return
    done
}

swap_disk() {
    modprobe -q virtio_blk
    local disk i
    for ((i = 0; i < 50; i++)); do
        disk=$(grep -lx kdreg-swap /sys/block/vd*/serial 2>/dev/null) && break
        sleep 0.1
    done
    [ -n "$disk" ] || complain "no swap disk" || return
    disk=/dev/$(basename "$(dirname "$disk")")
    mkswap -q "$disk" >/dev/null && swapon "$disk" || complain "cannot swap to $disk"
}

huge_pages() {
    echo "$hugepages" >/proc/sys/vm/nr_hugepages
    [ "$(cat /proc/sys/vm/nr_hugepages)" = "$hugepages" ] ||
        complain "got $(cat /proc/sys/vm/nr_hugepages) of $hugepages huge pages: give --memory more" ||
        return
    mkdir -p /dev/hugepages
    mount -t hugetlbfs hugetlbfs /dev/hugepages
}

same_page_merging() {
    [ -e /sys/kernel/mm/ksm/run ] || complain "this kernel has no KSM" || return
    echo 10000 >/sys/kernel/mm/ksm/pages_to_scan
    echo 0 >/sys/kernel/mm/ksm/sleep_millisecs
    echo 1 >/sys/kernel/mm/ksm/run
}

thp=/sys/kernel/mm/transparent_hugepage

# What the kernel does to pages without being asked: none of it, save in memory
# that asks for it (MADV_HUGEPAGE), and where memory is short.
leave_pages() {
    setting madvise $thp/enabled
    setting 0 /proc/sys/vm/compaction_proactiveness
    setting 0 /proc/sys/kernel/numa_balancing
}

# All of it, all the time. What holds there holds anywhere.
move_pages() {
    [ -e $thp/khugepaged ] && [ -e /proc/sys/vm/compact_memory ] ||
        complain "this kernel moves no pages by itself" || return
    setting always $thp/enabled
    setting 0 $thp/khugepaged/scan_sleep_millisecs
    setting 0 $thp/khugepaged/alloc_sleep_millisecs
    setting 65536 $thp/khugepaged/pages_to_scan
    (
        # A pipe that nobody writes to: a pause that costs no process.
        exec {never}<> <(:)
        while :; do
            echo 1 >/proc/sys/vm/compact_memory
            read -r -t 0.01 -u "$never"
        done
    ) </dev/null >/dev/null 2>&1 &
}

soft_roce() {
    modprobe -qa dummy rdma_rxe
    ip link show dummy0 >/dev/null 2>&1 || ip link add dummy0 type dummy
    ip address add 10.99.0.1/24 dev dummy0
    ip link set dummy0 up
    modprobe -qa ib_uverbs rdma_ucm
    rdma link add rxe0 type rxe netdev dummy0 || complain "cannot make a soft-RoCE device" || return
    local i
    for ((i = 0; i < 50; i++)); do
        rdma link show rxe0/1 | grep -q 'state ACTIVE' && [ -e /dev/infiniband/uverbs0 ] && return
        sleep 0.1
    done
    complain "soft-RoCE did not come up: $(rdma link show 2>&1)"
}

virtualisation() {
    modprobe -q kvm_amd || modprobe -q kvm_intel
    [ -e /dev/kvm ] || complain "no /dev/kvm: this machine's processor does not virtualise" || return
    # One machine is there all the time. With the first, and without the last, the
    # kernel changes instructions of its own in the middle of __schedule, and the
    # emulator (QEMU 7.2) now and then goes on with the breakpoint that was there
    # meanwhile: every processor takes it again and again, for ever.
    perl -e 'open(my $kvm, "+<", "/dev/kvm") or die "/dev/kvm: $!\n";
        ioctl($kvm, 0xae01, 0) or die "KVM_CREATE_VM: $!\n";
        fork and exit; setpgrp; sleep' </dev/null >/dev/null || complain "cannot keep a virtual machine"
}

insert_module() {
    # shellcheck disable=SC2086
    insmod "$run/$module" $module_params ||
        complain "cannot insert $module: $(dmesg | tail -n 3)"
}
