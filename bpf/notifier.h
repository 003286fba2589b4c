/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mode N: what the MMU notifiers of an address space would be told. The kernel
 * calls these for address spaces that have had a subscriber, and for no others.
 */
#ifndef KDREG_NOTIFIER_H
#define KDREG_NOTIFIER_H

#include "guard.h"
#include "log.h"

/* As in kdreg2.h. */
enum {
	CHANGE_UNMAP = 1U << 0,
	CHANGE_CLEAR = 1U << 1,
	CHANGE_PROTECTION = 1U << 2,
	CHANGE_MIGRATE = 1U << 5,
};

#define EVENT_IS(event, name) \
	(event == bpf_core_enum_value(enum mmu_notifier_event, MMU_NOTIFY_##name))

/* The reason as clients know it; -1: one that the kernel module leaves out too, unless asked for it. */
static __always_inline int change_of(__u32 event)
{
	/* Of fork, which leaves pages that are pinned as they are. */
	if (EVENT_IS(event, PROTECTION_PAGE) || EVENT_IS(event, SOFT_DIRTY) ||
	    EVENT_IS(event, EXCLUSIVE))
		return -1;
	if (EVENT_IS(event, UNMAP))
		return CHANGE_UNMAP;
	if (EVENT_IS(event, CLEAR))
		return CHANGE_CLEAR;
	if (EVENT_IS(event, PROTECTION_VMA))
		return CHANGE_PROTECTION;
	if (EVENT_IS(event, MIGRATE))
		return CHANGE_MIGRATE;
	return 0;
}

static __always_inline void notified(struct mmu_notifier_range *range)
{
	int change = change_of(range->event);

	if (change >= 0)
		log_change((__u64)range->mm, range->start, range->end, change);
}

/* Before the change: whoever looks after it has been made finds it. */
SEC("fentry/__mmu_notifier_invalidate_range_start")
int BPF_PROG(range_start, struct mmu_notifier_range *range)
{
	notified(range);
	leave(RANGE_START);
	return 0;
}

/* After it: for what was registered in between. */
SEC("fentry/__mmu_notifier_invalidate_range_end")
int BPF_PROG(range_end, struct mmu_notifier_range *range)
{
	notified(range);
	leave(RANGE_END);
	return 0;
}

#endif
