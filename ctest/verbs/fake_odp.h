/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* On-demand paging of the stand-in's device, which has it when FAKE_ODP says so: "all" of what a transport can, "send" only, or
 * "implicit", all of it and registrations of all addresses. */
#ifndef FAKE_ODP_H
#define FAKE_ODP_H

#include <infiniband/verbs.h>

/* A context, with what is before it when the device has on-demand paging. */
struct ibv_context *fake_context(void);
void fake_free_context(struct ibv_context *context);

#endif
