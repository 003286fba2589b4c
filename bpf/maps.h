/* SPDX-License-Identifier: GPL-2.0-only */
/* What the programs keep, and share with kdregd. */
#ifndef KDREG_MAPS_H
#define KDREG_MAPS_H

#include "vmlinux.h"
#include "kdreg_log.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/*
 * The number of clients; kdregd makes it what it is told. An address space that
 * is not in here is left alone.
 */
#define KDREG_CLIENTS 16384

/*
 * A log, by the mm_struct it is of. All logs have elements of the same size and
 * each as many as it needs: BPF_F_INNER_MAP.
 */
struct log_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, KDREG_LOG_ELEMENT);
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, KDREG_CLIENTS);
	__uint(key_size, sizeof(__u64));
	__array(values, struct log_map);
} logs SEC(".maps");

/*
 * How many logs that are alive are of the address spaces whose places these are: of
 * most, none. What is looked at first, since it takes an eighth of looking for a log.
 */
#define KDREG_PLACES 16384
struct places {
	__u32 logs[KDREG_PLACES];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct places);
} places SEC(".maps");

/* What wakes a client, by its mm_struct too: a record in it says that the log has moved. */
struct wake_map {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, KDREG_CLIENTS);
	__uint(key_size, sizeof(__u64));
	__array(values, struct wake_map);
} wakes SEC(".maps");

/*
 * Clients whose address space is gone, by mm_struct, for kdregd to clear away; 0: the
 * guard says something that all clients are to be woken for.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} ends SEC(".maps");

/* struct kdreg_guard. All clients have it mapped. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kdreg_guard);
} guard SEC(".maps");

/* The programs that the guard watches over. */
enum watched_program {
	RANGE_START,
	RANGE_END,
	EXIT_MMAP,
	LINK_RELEASE,
	TRACEPOINT_RELEASE,
	SYSCTL,
	FLUSH_RANGE,
	GATHER_FINISH,
	UNMAP_ONE,
	MIGRATE_ONE,
	UNMAP,
	IMAGE,
	WATCHED_PROGRAMS,
};

/*
 * One of them. Where it counts is written before the program is attached, and stays.
 * The link's number, and not the program's: a link may be released long after it was
 * let go of, when the program has been attached anew.
 */
struct watched {
	__u64 active; /* per-CPU address: how many run it; 0: it is not attached */
	__u64 stats;  /* per-CPU address of its bpf_prog_stats */
	__u32 link;   /* 0: nobody depends on it */
	__u32 reserved;
};

struct watched_programs {
	struct watched programs[WATCHED_PROGRAMS];
	__u32 scheduler_link; /* the guard's own program's */
	__u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct watched_programs);
} watched SEC(".maps");

/* What the guard knows of a processor. Touched by that processor alone. */
struct processor {
	/*
	 * Odd: a program is under way on it and has been switched away from. Goes up
	 * by two with every switch while that is so.
	 */
	__u64 uncertain;
	__u64 misses;      /* of all programs, on it, when that began */
	__u64 missed_ends; /* and of those that see programs go */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct processor);
} processors SEC(".maps");

/* For things that are there once. */
static const __u32 only = 0;

/* One reader at least takes the result, or the operation were no full barrier. */
#define USE(value) asm volatile("" : : "r"(value))

#endif
