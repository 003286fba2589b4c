/* SPDX-License-Identifier: GPL-2.0-only */
/* How logs end, and what else makes everything uncertain for ever. */
#ifndef KDREG_LIFE_H
#define KDREG_LIFE_H

#include "guard.h"
#include "log.h"

/* The address space goes: its mm_struct may be another process's before kdregd has cleared away. */
SEC("fentry/exit_mmap")
int BPF_PROG(exit_space, struct mm_struct *mm)
{
	__u64 key = (__u64)mm;
	void *map = find_log(key);
	struct kdreg_log *log = map ? bpf_map_lookup_elem(map, &only) : NULL;

	if (log && end_log(key, log))
		/* Without room kdregd finds it when it next looks through all. */
		bpf_ringbuf_output(&ends, &key, sizeof(key), 0);
	leave(EXIT_MMAP);
	return 0;
}

/*
 * A link is let go of for good. If it is one of ours, then its program will not
 * run any more from soon on: kdregd has died and its pins have been removed, or
 * their file system is gone.
 */
static __always_inline void released(struct bpf_link *link)
{
	struct watched_programs *all = bpf_map_lookup_elem(&watched, &only);
	__u32 id = BPF_CORE_READ(link, id);
	bool ours = false;

	if (!all || !id)
		return;
	for (int i = 0; i < WATCHED_PROGRAMS; i++)
		ours |= all->programs[i].link == id;
	if (ours || all->scheduler_link == id)
		end_everything();
}

SEC("fentry/bpf_tracing_link_release")
int BPF_PROG(link_release, struct bpf_link *link)
{
	released(link);
	leave(LINK_RELEASE);
	return 0;
}

SEC("fentry/bpf_raw_tp_link_release")
int BPF_PROG(tracepoint_release, struct bpf_link *link)
{
	released(link);
	leave(TRACEPOINT_RELEASE);
	return 0;
}

/*
 * kernel.ftrace_enabled is being written to: with 0 the kernel takes all calls of
 * programs out of its functions. This runs before.
 */
SEC("fentry/proc_sys_write")
int BPF_PROG(sysctl, struct kiocb *iocb)
{
	static const char wanted[] = "ftrace_enabled";
	char name[sizeof(wanted)] = {};
	struct proc_inode *entry;
	const char *procname;
	__u64 inode;
	bool same = true;

	inode = (__u64)BPF_CORE_READ(iocb, ki_filp, f_inode);
	entry = (void *)(inode - bpf_core_field_offset(struct proc_inode, vfs_inode));
	procname = BPF_CORE_READ(entry, sysctl_entry, procname);
	bpf_probe_read_kernel_str(name, sizeof(name), procname);
	for (int i = 0; i < sizeof(wanted); i++)
		same &= name[i] == wanted[i];
	if (same)
		end_everything();
	leave(SYSCTL);
	return 0;
}

#endif
