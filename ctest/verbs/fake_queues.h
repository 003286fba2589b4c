/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The queues of the stand-in for libibverbs. */
#ifndef FAKE_QUEUES_H
#define FAKE_QUEUES_H

#include "fake.h"

#include <infiniband/verbs.h>

/* The functions by which programs post and poll. */
void fake_queue_ops(struct ibv_context_ops *ops);

#endif
