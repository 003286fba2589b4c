/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "calls.h"

const struct call *const call_tables[] = {calls_map, calls_advise, calls_rights, calls_use, calls_watch, calls_grow, NULL};
