/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guard against lost runs.
 *
 * A program that is under way on a processor, for whatever task, is not run
 * there for another task: the kernel counts a miss and goes on. So while a task
 * has been switched away from inside one of our programs, changes that others
 * make on its processor may be missed. sched_switch sees every such switch,
 * before the other task can run. From then until nobody is inside one of our
 * programs on that processor any more it counts as uncertain, and clients take
 * nothing for valid while any processor does. If at the end of that time misses
 * have been counted, all clients lose everything, once.
 *
 * If what was missed sees programs go, they may be gone, or about to be. Then the guard
 * is held: nothing is valid until kdregd has found all of them in place. It has the links,
 * which cannot have been released then; and it reads kernel.ftrace_enabled, which waits for
 * whoever was writing to it when that was missed (life.h).
 *
 * Why nothing is lost undetected: a change is missed on processor P only while
 * another task is inside a program on P; that task was switched away from inside
 * it (the programs run in process context alone, but for what `image` is told of other
 * symbols than its own, which may be left out), so the count was raised
 * before the task that changes memory ran. It is lowered only by whoever has
 * found that nobody else is inside, with no switch since (so that nobody can have
 * come in), and together with the loss, if there was one.
 * tools/kdregd/src/model.rs goes through every interleaving of this.
 */
#ifndef KDREG_GUARD_H
#define KDREG_GUARD_H

#include "maps.h"

/* Any per-CPU variable that all kernels have in their BTF does: only its address is of interest. */
extern const int bpf_prog_active __ksym;

/* What is to be added to a per-CPU address to make it this processor's. */
static __always_inline __u64 per_cpu_offset(void)
{
	return (__u64)bpf_this_cpu_ptr(&bpf_prog_active) - (__u64)&bpf_prog_active;
}

static __always_inline __u32 read_active(__u64 active, __u64 offset)
{
	__u32 count = 0;

	/*
	 * Four bytes on every kernel: a count, or (arm64, newer ones) one count for
	 * each kind of context. What cannot be read counts as under way.
	 */
	if (bpf_probe_read_kernel(&count, sizeof(count), (void *)(active + offset)))
		return 1;
	return count;
}

/* Whether a task is inside one of the programs on this processor, one visit of `self` left out. */
static __always_inline bool anybody_inside(struct watched_programs *all, int self, __u64 offset)
{
	for (int i = 0; i < WATCHED_PROGRAMS; i++) {
		__u64 active = all->programs[i].active;

		if (active && read_active(active, offset) != (i == self))
			return true;
	}
	return false;
}

/* How often programs were left out on this processor: all, and those that see programs go. */
struct missed {
	__u64 all, ends;
};

static __always_inline struct missed count_misses(struct watched_programs *all, __u64 offset)
{
	struct missed total = {};

	for (int i = 0; i < WATCHED_PROGRAMS; i++) {
		__u64 stats = all->programs[i].stats, misses = 0;

		if (!stats)
			continue;
		bpf_probe_read_kernel(&misses, sizeof(misses),
				      (void *)(stats + offset +
					       bpf_core_field_offset(struct bpf_prog_stats, misses)));
		total.all += misses;
		if (i == LINK_RELEASE || i == TRACEPOINT_RELEASE || i == SYSCTL || i == IMAGE)
			total.ends += misses;
	}
	return total;
}

static __always_inline void add_to_guard(__u64 what)
{
	struct kdreg_guard *g = bpf_map_lookup_elem(&guard, &only);

	if (g) {
		/* A full barrier: whoever is switched to, or goes on, does so behind it. */
		__u64 old = __sync_fetch_and_add(&g->word, what);
		USE(old);
	}
}

/*
 * What sees programs go was missed. The number of losses goes up first: kdregd, which
 * takes this back, finds another word if it began to look before. And it does so once
 * more by taking it back, for what was lost meanwhile.
 */
static __always_inline void hold(void)
{
	struct kdreg_guard *g = bpf_map_lookup_elem(&guard, &only);
	__u64 old;

	add_to_guard(1ULL << KDREG_GUARD_EPOCH_SHIFT);
	if (g) {
		/* A full barrier: the processor is not certain again before. */
		old = __sync_fetch_and_or(&g->word, KDREG_GUARD_HELD);
		USE(old);
	}
}

/* Has kdregd wake all clients. Without room it looks at the guard now and then. */
static __always_inline void tell_all(void)
{
	__u64 nobody = 0;

	bpf_ringbuf_output(&ends, &nobody, sizeof(nobody), 0);
}

/* Nothing is certain any more, on the whole machine. */
static __always_inline void end_everything(void)
{
	struct kdreg_guard *g = bpf_map_lookup_elem(&guard, &only);

	if (g && !(__sync_fetch_and_or(&g->word, KDREG_GUARD_DEAD) & KDREG_GUARD_DEAD))
		tell_all();
}

/*
 * Makes this processor certain again, if nobody is inside a program on it: one
 * visit of `self` left out, which is the caller's.
 */
static __always_inline void end_uncertainty(struct watched_programs *all, struct processor *here,
					    int self, __u64 offset)
{
	/* Any switch from here on makes another number of it, and this comes to nothing. */
	__u64 uncertain = *(volatile __u64 *)&here->uncertain;
	struct missed missed;
	__u64 lost;

	if (!(uncertain & 1) || anybody_inside(all, self, offset))
		return;
	missed = count_misses(all, offset);
	lost = missed.all - *(volatile __u64 *)&here->misses;
	missed.ends -= *(volatile __u64 *)&here->missed_ends;
	if (__sync_val_compare_and_swap(&here->uncertain, uncertain, uncertain + 1) != uncertain)
		return;
	if (missed.ends)
		hold();
	/* A switch before this raises the count for itself: it does not reach 0 meanwhile. */
	add_to_guard(lost ? (1ULL << KDREG_GUARD_EPOCH_SHIFT) - 1 : -1ULL);
	if (lost)
		tell_all();
}

/*
 * To be called last by every program. It may have been switched away from: then
 * it need not take until the next switch that its processor is certain again.
 */
static __always_inline void leave(int self)
{
	struct processor *here = bpf_map_lookup_elem(&processors, &only);
	struct watched_programs *all;

	if (!here || !(here->uncertain & 1))
		return;
	all = bpf_map_lookup_elem(&watched, &only);
	if (all)
		end_uncertainty(all, here, self, per_cpu_offset());
}

#endif
