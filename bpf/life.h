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

/* How often kernel.ftrace_enabled was read: kdregd finds by it that what is written is seen. */
__u64 switch_reads;

/*
 * An integer of kernel.* and the like is read, or written. If it is
 * kernel.ftrace_enabled, and will be 0, the kernel is about to take all calls of programs
 * out of its functions. It holds ftrace's lock from before this until that is done, and
 * takes the same lock for everybody who reads the value: so whoever has read it since
 * this was attached, and found it not to be 0, knows that no other 0 comes unseen.
 *
 * Where the function begins, though the value is not there yet: what runs where one ends
 * is passed over for who is in it when anybody attaches another program there.
 */
SEC("fentry/proc_dointvec")
int BPF_PROG(sysctl, struct ctl_table *table, int write)
{
	static const char wanted[] = "ftrace_enabled";
	/* Longer by one, so that a longer name is another. */
	char name[sizeof(wanted) + 1] = {};
	bool same = true;

	bpf_probe_read_kernel_str(name, sizeof(name), table->procname);
	for (int i = 0; i < sizeof(wanted); i++)
		same &= name[i] == wanted[i];
	if (same && write)
		end_everything();
	else if (same)
		__sync_fetch_and_add(&switch_reads, 1);
	leave(SYSCTL);
	return 0;
}

#endif
