/* SPDX-License-Identifier: GPL-2.0-only */
/* The BPF programs: one object, as they share their maps. */
#include "daemon.h"
#include "flush.h"
#include "life.h"
#include "notifier.h"
#include "scheduler.h"

/* Most of the helpers are for programs under the GPL. */
char LICENSE[] SEC("license") = "GPL";
