/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/*
 * What the BPF programs and the library agree on: the log of an address space,
 * and the guard. libkdreg/src/monitor/change_log/abi.rs says the same in Rust, and how
 * both are to be read.
 *
 * Includes nothing; __u32 and __u64 are the includer's.
 */
#ifndef KDREG_LOG_H
#define KDREG_LOG_H

#define KDREG_LOG_MAGIC 0x676f6c676572646bULL   /* "kdreglog" */
#define KDREG_GUARD_MAGIC 0x647277676572646bULL /* "kdregwrd" */
#define KDREG_BPF_VERSION 1U

/* In kdreg_log.tail and kdreg_guard.word: nothing is certain any more, for ever. */
#define KDREG_LOG_DEAD (1ULL << 63)
#define KDREG_GUARD_DEAD (1ULL << 63)

enum kdreg_mode { KDREG_MODE_NOTIFIER = 1, KDREG_MODE_FLUSH = 2 };

/* The nth entry ever begun; in the log at n modulo its capacity. */
struct kdreg_log_entry {
	__u64 sequence; /* 2n+2 once it is finished */
	__u64 start;    /* first byte that changed */
	__u64 end;      /* first byte behind it */
	__u32 change;   /* KDREG_CHANGE_ of kdreg2.h; 0: unknown */
	__u32 reserved;
};

/* What a log begins with. */
struct kdreg_log {
	__u64 tail;     /* entries ever begun, and KDREG_LOG_DEAD */
	__u64 magic;    /* KDREG_LOG_MAGIC once it is written to */
	__u32 version;  /* KDREG_BPF_VERSION */
	__u32 capacity; /* in entries; a power of two */
	__u32 mode;     /* enum kdreg_mode */
	__u32 flags;
	__u64 identity; /* random, of this client */
	__u64 done;     /* entries ever finished: equals tail while nobody is writing */
	__u64 reserved[2];
};

/*
 * The map of a log has elements of this many bytes: its header is in the first
 * one, the second is left free, and then come its entries, two in each.
 */
#define KDREG_LOG_ELEMENT 64U
#define KDREG_LOG_ENTRIES 128U /* where they begin */

/* One for the machine. */
struct kdreg_guard {
	/*
	 * From bit 0: the processors that may be missing changes this moment;
	 * KDREG_GUARD_HELD; from bit KDREG_GUARD_EPOCH_SHIFT: how often some were missed;
	 * KDREG_GUARD_DEAD.
	 */
	__u64 word;
	__u64 magic;   /* KDREG_GUARD_MAGIC */
	__u32 version; /* KDREG_BPF_VERSION */
	__u32 flags;   /* KDREG_GUARD_UNINSTALLED */
};
#define KDREG_GUARD_EPOCH_SHIFT 16
/* Programs may not run any more: nothing is certain until kdregd has found that they do. */
#define KDREG_GUARD_HELD (1ULL << 15)

/* In kdreg_guard.flags, of a guard that is dead: on purpose, and nobody is to begin anew. */
#define KDREG_GUARD_UNINSTALLED 1U

#endif
