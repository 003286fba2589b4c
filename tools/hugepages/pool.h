/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Huge pages of 2 MiB for a program that needs some, beside others that do the same at the same time. */
#ifndef KDREG_HUGEPAGES_POOL_H
#define KDREG_HUGEPAGES_POOL_H

/* Enlarges the machine's pool by so many pages, or as far as it goes; without the right to, by none. Not by threads at the same time. */
void huge_pool_borrow(long pages);
/* Makes it smaller by what huge_pool_borrow added, once. */
void huge_pool_return(void);

#endif
