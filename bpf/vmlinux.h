/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the programs use of the kernel's structures, and no more. Where a member
 * is in a running kernel, that kernel's BTF says; order and size are of no
 * importance here, names and types are.
 */
#ifndef KDREG_VMLINUX_H
#define KDREG_VMLINUX_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;
#define true 1
#define false 0

enum { ENOENT = 2 };
enum { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_EXIST = 2 };
enum { BPF_RB_AVAIL_DATA = 0 };
enum { BPF_F_NUMA_NODE = 1U << 2, BPF_F_MMAPABLE = 1U << 10, BPF_F_INNER_MAP = 1U << 12 };

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_HASH_OF_MAPS = 13,
	BPF_MAP_TYPE_RINGBUF = 27,
};

/* For bpf_tracing.h. */
struct pt_regs;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	__u32 val;
} kuid_t;

struct cred {
	kuid_t uid, euid, suid;
};

struct mmu_notifier_subscriptions;

struct mm_struct {
	struct mmu_notifier_subscriptions *notifier_subscriptions;
};

struct task_struct {
	int pid, tgid;
	__u64 start_time;
	__u64 self_exec_id;
	struct mm_struct *mm;
	const struct cred *real_cred;
};

enum mmu_notifier_event {
	MMU_NOTIFY_UNMAP,
	MMU_NOTIFY_CLEAR,
	MMU_NOTIFY_PROTECTION_VMA,
	MMU_NOTIFY_PROTECTION_PAGE,
	MMU_NOTIFY_SOFT_DIRTY,
	MMU_NOTIFY_RELEASE,
	MMU_NOTIFY_MIGRATE,
	MMU_NOTIFY_EXCLUSIVE,
};

struct mmu_notifier_range {
	struct mm_struct *mm;
	unsigned long start, end;
	enum mmu_notifier_event event;
};

struct mmu_gather {
	struct mm_struct *mm;
	unsigned long start, end;
};

/* What unmap_vmas() is told, where it is told so. */
struct unmap_desc {
	unsigned long vma_start, vma_end;
};

struct vm_area_struct {
	unsigned long vm_end;
	struct mm_struct *vm_mm;
};

/* The number of pages of a large one, by the name it had until 6.13, and from then on. */
struct folio {
	unsigned long flags;
	unsigned int _folio_nr_pages;
};
struct memdesc_flags {
	unsigned long f;
};
struct folio___newer {
	struct memdesc_flags flags;
	unsigned int _nr_pages;
};

enum pageflags { PG_head = 6 };

struct u64_stats {
	__u64 v;
};

struct bpf_prog_stats {
	struct u64_stats misses;
};

struct bpf_prog_aux {
	__u32 id;
};

struct bpf_prog {
	struct bpf_prog_stats *stats;
	int *active;
	struct bpf_prog_aux *aux;
};

struct bpf_link {
	__u32 id;
	struct bpf_prog *prog;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__bpf_prog {
	struct bpf_iter_meta *meta;
	struct bpf_prog *prog;
};

struct ctl_table {
	const char *procname;
};

#pragma clang attribute pop

#endif
