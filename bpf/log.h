/* SPDX-License-Identifier: GPL-2.0-only */
/* Writing to a log. */
#ifndef KDREG_LOG_WRITE_H
#define KDREG_LOG_WRITE_H

#include "maps.h"

/*
 * Becomes visible behind all that was stored before. x86 keeps the order of
 * stores; elsewhere an exchange is the only barrier that programs have.
 */
#ifdef __TARGET_ARCH_x86
#define STORE_LAST(place, value)                    \
	do {                                            \
		asm volatile("" : : : "memory");        \
		*(volatile __u64 *)&(place) = (value);  \
		asm volatile("" : : : "memory");        \
	} while (0)
#else
#define STORE_LAST(place, value)                                        \
	do {                                                                \
		__u64 old_ = __sync_lock_test_and_set(&(place), (value));   \
		USE(old_);                                                  \
	} while (0)
#endif

/*
 * Where logs like that of an address space are counted. Counted up before the log can
 * be found; down, by whoever ends it, once it says that nothing in it is certain.
 */
static __always_inline __u32 *place_of(__u64 mm)
{
	struct places *all = bpf_map_lookup_elem(&places, &only);
	__u32 low;

	/* A number to the verifier, which lets nobody multiply a pointer. */
	asm volatile("%0 = %1" : "=w"(low) : "w"((__u32)mm));
	/* Fibonacci's: the upper 14 bits. */
	return all ? &all->logs[(low * 0x9e3779b1U) >> 18] : NULL;
}

/* The log of an address space; NULL: nobody watches it. */
static __always_inline void *find_log(__u64 mm)
{
	return bpf_map_lookup_elem(&logs, &mm);
}

/*
 * Tells the client that its log has moved, unless it has yet to take the last
 * time it was told. It takes the record first and looks at the log then; the
 * barrier behind what was written to the log is the caller's.
 */
static __always_inline void wake(__u64 mm)
{
	void *ring = bpf_map_lookup_elem(&wakes, &mm);
	__u64 record = 0;

	if (ring && !bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA))
		bpf_ringbuf_output(ring, &record, sizeof(record), 0);
}

/* [start, end) of the address space has changed, or is about to. */
static __always_inline void log_change(__u64 mm, __u64 start, __u64 end, __u32 change)
{
	__u32 *place = place_of(mm);
	struct kdreg_log *log;
	void *map;
	__u64 n, done;
	__u32 element;
	char *pair;

	if (!place || !*(volatile __u32 *)place)
		return;
	map = find_log(mm);
	if (!map)
		return;
	log = bpf_map_lookup_elem(map, &only);
	if (!log || log->magic != KDREG_LOG_MAGIC || log->tail & KDREG_LOG_DEAD)
		return;
	/*
	 * A full barrier. From here on a lookup that reads the tail finds that it
	 * does not know everything, whatever becomes of this entry.
	 */
	n = __sync_fetch_and_add(&log->tail, 1);
	element = n & (log->capacity - 1);
	element = KDREG_LOG_ENTRIES / KDREG_LOG_ELEMENT + element / 2;
	pair = bpf_map_lookup_elem(map, &element);
	if (pair) {
		struct kdreg_log_entry *entry = (void *)(pair + (n & 1) * sizeof(*entry));

		entry->start = start;
		entry->end = end;
		entry->change = change;
		STORE_LAST(entry->sequence, 2 * n + 2);
	}
	/* A full barrier again: wake() looks at the ring behind it. */
	done = __sync_fetch_and_add(&log->done, 1);
	USE(done);
	wake(mm);
}

/* Nothing in this log of an address space is certain any more. Whether it was until now. */
static __always_inline bool end_log(__u64 mm, struct kdreg_log *log)
{
	__u32 *place;

	if (__sync_fetch_and_or(&log->tail, KDREG_LOG_DEAD) & KDREG_LOG_DEAD)
		return false;
	place = place_of(mm);
	if (place)
		__sync_fetch_and_add(place, -1);
	return true;
}

#endif
