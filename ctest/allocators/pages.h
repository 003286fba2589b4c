/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A device that keeps the pages themselves: a registration takes hold of the pages that are behind the addresses at that moment, as a
 * network card's does, and what is on them can be read later, whatever is behind the addresses by then. vmsplice(2) puts them into a pipe,
 * from which tee(2) takes copies. Of long registrations it has some of the pages. */
#ifndef KDREG_PAGES_H
#define KDREG_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether this kernel lets it. */
bool pages_possible(void);

/* Callbacks of a cache. The handle is a struct pages. */
int pages_register(void *context, void *addr, size_t length, uint32_t access, void **handle);
int pages_deregister(void *context, void *addr, size_t length, void *handle);

/* Writes something new to the pages of [at, at + length) that the registration has, through the addresses, and reads it through the
 * registration. Returns how many pages differ, and adds to *looked how many there were. The memory is the caller's alone. */
int pages_differ(const void *handle, char *at, size_t length, unsigned long *looked);

/* Registrations that are there; each has two descriptors. */
long pages_registrations(void);

#endif
