/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef KDREG_LOAD_H
#define KDREG_LOAD_H

/* Threads that allocate, register, hand over, reallocate and free. What is found for an allocation is of the pages that are behind it. The status to
 * exit with. */
int load_run(void);

#endif
