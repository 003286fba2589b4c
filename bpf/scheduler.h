/* SPDX-License-Identifier: GPL-2.0-only */
/* The guard's watch: see guard.h. */
#ifndef KDREG_SCHEDULER_H
#define KDREG_SCHEDULER_H

#include "guard.h"

/* With interrupts off, after the last instruction of the one task and before the first of the other. */
SEC("tp_btf/sched_switch")
int BPF_PROG(scheduler, bool preempt)
{
	struct processor *here = bpf_map_lookup_elem(&processors, &only);
	struct watched_programs *all;
	__u64 offset;

	/* No program sleeps: who goes by its own will is not inside one. */
	if (!here || (!preempt && !(here->uncertain & 1)))
		return 0;
	all = bpf_map_lookup_elem(&watched, &only);
	if (!all)
		return 0;
	offset = per_cpu_offset();
	if (here->uncertain & 1) {
		/* Whoever was about to end this has to look again. */
		here->uncertain += 2;
		end_uncertainty(all, here, -1, offset);
	} else if (anybody_inside(all, -1, offset)) {
		struct missed missed = count_misses(all, offset);

		here->misses = missed.all;
		here->missed_ends = missed.ends;
		here->uncertain++;
		add_to_guard(1);
	}
	return 0;
}

#endif
