/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef PEERS_H
#define PEERS_H

#include <kdreg.h>

/* Says whether an invalidation costs the same however much is registered. */
void invalidation_does_not_search(kdreg_t *monitor);

#endif
