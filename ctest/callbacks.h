/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef CALLBACKS_H
#define CALLBACKS_H

#include <kdreg.h>

/* With these flags of a cache: callbacks in the calls themselves, or in the reaper as well. */
void callbacks_allocate(kdreg_t *monitor, uint32_t flags);

#endif
