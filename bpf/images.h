/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mode F: the kernel makes an image, a piece of code, of all programs at one function, and
 * another whenever a program is attached there or detached, by whomever. From then on it may
 * pass over what is at the function's end for whoever is inside by the image before
 * (bpf_tramp_image_put), until the last of them has left it. This sees images made, before
 * anybody is inside by them, and images gone, when nobody is any more. So as long as there is
 * more than one image of a function that we have a program at the end of, the guard is held:
 * kdregd lets go of it when there is one again.
 *
 * Who was inside before kdregd attached its own is like one inside by an image before: kdregd
 * has a second image made, and a third, and waits for the first two to go, before the
 * first client is served. (The kernel lets one go no earlier than every task that was inside
 * when the next was made has left, or slept: call_rcu_tasks, as kernels have it that can preempt
 * themselves; kdregd asks for that. What these functions may sleep in is others' MMU notifiers
 * alone: a process that has subscribed is not given this mode.)
 */
#ifndef KDREG_IMAGES_H
#define KDREG_IMAGES_H

#include "guard.h"

/* Functions that mode F has a program at the end of. */
#define ENDED_FUNCTIONS 2
#define IMAGE_NAME 40

/* What the images of one are called, as kdregd has written it: this, and on older kernels more. */
struct ended_function {
	char name[IMAGE_NAME]; /* and zeros */
};

struct ended_functions {
	struct ended_function functions[ENDED_FUNCTIONS];
	__u64 misses; /* kdregd's: of this program, before it was attached */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ended_functions);
} ended SEC(".maps");

/* Their images that were seen made and not yet gone, by address. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u64);
	__type(value, __u32);
} images SEC(".maps");

/* How many there are of each function, and whether clients depend on them. */
__u64 images_of[ENDED_FUNCTIONS];
__u64 ends_serve;

static __always_inline bool is_of(const struct ended_function *function, const char *name)
{
	bool same = function->name[0], end = false;

	/* Whole: 6.1 takes no loop that is fallen into from behind. */
#pragma clang loop unroll(full)
	for (int i = 0; i < IMAGE_NAME; i++) {
		char wanted = function->name[i];

		if (end)
			continue;
		end = !wanted;
		same &= name[i] == wanted || (end && name[i] == '_');
	}
	return same;
}

static __always_inline void image_made(__u64 address, __u64 *count)
{
	__u32 there = 1;
	__u64 old;

	/* One that is there already has gone unseen: nobody knows how many there are. */
	if (bpf_map_update_elem(&images, &address, &there, BPF_NOEXIST)) {
		end_everything();
		return;
	}
	__sync_fetch_and_add(count, 1);
	/*
	 * A full barrier, behind the count: either kdregd, which makes this 1 and counts
	 * then, has counted it, or the guard is held.
	 */
	old = __sync_fetch_and_add(&ends_serve, 0);
	if (old) {
		hold();
		tell_all();
	}
}

static __always_inline void image_gone(__u64 address, __u64 *count)
{
	long error = bpf_map_delete_elem(&images, &address);

	if (!error)
		__sync_fetch_and_add(count, -1);
	/* One that was made before this was attached is of no interest. */
	else if (error != -ENOENT)
		end_everything();
}

/* Symbols that BPF makes come and go. Of images, in process context. */
SEC("fentry/perf_event_ksymbol")
int image(unsigned long long *context)
{
	/* Of a bool the lowest byte alone is told. */
	bool gone = (__u8)context[3];
	struct ended_functions *all = bpf_map_lookup_elem(&ended, &only);
	char name[IMAGE_NAME + 1] = {};

	if (all && bpf_probe_read_kernel_str(name, sizeof(name), (void *)context[4]) > 0) {
		__u64 *count = NULL;

		if (is_of(&all->functions[0], name))
			count = &images_of[0];
		else if (is_of(&all->functions[1], name))
			count = &images_of[1];
		if (count && gone)
			image_gone(context[1], count);
		else if (count)
			image_made(context[1], count);
	}
	leave(IMAGE);
	return 0;
}

/* Attached for a moment, so that another image is made. */
SEC("fentry/try_to_unmap_one")
int pass_unmap_one(unsigned long long *context)
{
	return 0;
}

SEC("fentry/try_to_migrate_one")
int pass_migrate_one(unsigned long long *context)
{
	return 0;
}

#endif
