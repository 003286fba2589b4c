/* SPDX-License-Identifier: GPL-2.0-only */
/* What kdregd asks of the kernel. Layouts as in tools/kdregd/src/kernel/. */
#ifndef KDREG_DAEMON_H
#define KDREG_DAEMON_H

#include "images.h"
#include "life.h"
#include "log.h"

/* What is asked about processes. */
struct question {
	__u32 all; /* 1: every task that has a log; 0: every task there is an answer for */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct question);
} questions SEC(".maps");

/* What is answered about a task. */
struct answer {
	__u64 mm;
	__u64 start_time;
	__u64 executions; /* goes up whenever it executes a program, which takes another mm */
	__u32 subscribed; /* 1: MMU notifications have been subscribed to */
	__u32 pid, tgid;
	__u32 uid, euid, suid;
};

/*
 * Nothing is read of a task's memory, nor is its lock taken: both wait for whoever
 * is behind a mapping (a file system in user space, a userfaultfd), without end.
 */
SEC("iter/task")
int tasks(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;
	struct question *question = bpf_map_lookup_elem(&questions, &only);
	struct answer answer = {};

	if (!task || !question)
		return 0;
	answer.mm = (__u64)task->mm;
	if (!answer.mm || (question->all && !find_log(answer.mm)))
		return 0;
	answer.start_time = task->start_time;
	answer.executions = task->self_exec_id;
	answer.pid = task->pid;
	answer.tgid = task->tgid;
	answer.uid = task->real_cred->uid.val;
	answer.euid = task->real_cred->euid.val;
	answer.suid = task->real_cred->suid.val;
	answer.subscribed = !!BPF_CORE_READ(task, mm, notifier_subscriptions);
	bpf_seq_write(context->meta->seq, &answer, sizeof(answer));
	return 0;
}

/* Where the kernel keeps what the guard reads of a program. */
struct program_place {
	__u64 active, stats;
	__u32 id, reserved;
};

SEC("iter/bpf_prog")
int programs(struct bpf_iter__bpf_prog *context)
{
	struct bpf_prog *program = context->prog;
	struct program_place place = {};

	if (!program)
		return 0;
	place.id = program->aux->id;
	place.active = (__u64)program->active;
	place.stats = (__u64)program->stats;
	bpf_seq_write(context->meta->seq, &place, sizeof(place));
	return 0;
}

enum {
	ORDER_LOOK = 0,
	ORDER_END = 1,
	ORDER_UNINSTALL = 2,
	ORDER_WAKE = 3,
	ORDER_EXPECT = 4, /* a log is about to be put in */
	ORDER_FORGET = 5, /* and was not */
	ORDER_END_ALL = 6,
	ORDER_SWITCH = 7, /* how often kernel.ftrace_enabled was read: in tail */
	ORDER_LET_GO = 8, /* of a guard that is held, and whose word is in tail */
	ORDER_IMAGES = 9, /* how many there are: in tail and done; found: whether clients depend on them */
	ORDER_DEPEND = 10, /* the same, and from now on they do, if there is one of each */
	ORDER_RELEASE = 11, /* the same, and they do not */
	ORDER_UNCOUNT = 12, /* and of images nothing is known */
};

/* What is to be done with a log, and what it was like; or with the guard. */
struct order {
	__u64 mm;
	__u32 what;
	__u32 found;    /* 1: there is such a log, or it was done */
	__u64 tail, done, identity;
	__u32 mode, capacity;
};

static __always_inline void order_of_images(struct order *order)
{
	__u64 old;

	if (order->what != ORDER_IMAGES) {
		/* A full barrier: see image_made(). */
		old = __sync_lock_test_and_set(&ends_serve, order->what == ORDER_DEPEND);
		USE(old);
	}
	if (order->what == ORDER_UNCOUNT) {
		images_of[0] = 0;
		images_of[1] = 0;
	}
	order->tail = *(volatile __u64 *)&images_of[0];
	order->done = *(volatile __u64 *)&images_of[1];
	/* In here, so that nobody who dies meanwhile leaves it like that. */
	if (order->what == ORDER_DEPEND && (order->tail != 1 || order->done != 1)) {
		old = __sync_lock_test_and_set(&ends_serve, 0);
		USE(old);
	}
	order->found = *(volatile __u64 *)&ends_serve;
}

SEC("syscall")
int orders(struct order *order)
{
	__u64 mm = order->mm;
	struct kdreg_log *log;
	void *map;

	order->found = 0;
	if (order->what == ORDER_UNINSTALL || order->what == ORDER_END_ALL) {
		struct kdreg_guard *g = bpf_map_lookup_elem(&guard, &only);

		/* Before the guard is dead: whoever finds it so and was told late knows why. */
		if (g && order->what == ORDER_UNINSTALL)
			__sync_fetch_and_or(&g->flags, KDREG_GUARD_UNINSTALLED);
		end_everything();
		return 0;
	}
	if (order->what == ORDER_WAKE) {
		wake(mm);
		return 0;
	}
	if (order->what == ORDER_EXPECT || order->what == ORDER_FORGET) {
		__u32 *place = place_of(mm);

		if (place)
			__sync_fetch_and_add(place, order->what == ORDER_EXPECT ? 1 : -1);
		return 0;
	}
	if (order->what == ORDER_SWITCH) {
		order->tail = *(volatile __u64 *)&switch_reads;
		return 0;
	}
	if (order->what >= ORDER_IMAGES && order->what <= ORDER_UNCOUNT) {
		order_of_images(order);
		return 0;
	}
	if (order->what == ORDER_LET_GO) {
		struct kdreg_guard *g = bpf_map_lookup_elem(&guard, &only);
		__u64 word = order->tail;
		__u64 next = (word & ~KDREG_GUARD_HELD) + (1ULL << KDREG_GUARD_EPOCH_SHIFT);

		order->found = g && __sync_val_compare_and_swap(&g->word, word, next) == word;
		return 0;
	}
	map = find_log(mm);
	log = map ? bpf_map_lookup_elem(map, &only) : NULL;
	if (!log)
		return 0;
	order->found = 1;
	order->tail = log->tail;
	order->done = log->done;
	order->identity = log->identity;
	order->mode = log->mode;
	order->capacity = log->capacity;
	if (order->what == ORDER_END && end_log(mm, log))
		wake(mm);
	return 0;
}

#endif
