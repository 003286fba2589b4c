/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a test can ask the stand-in for libibverbs. In a program that runs over the real one they are null. */
#ifndef FAKE_H
#define FAKE_H

#include <stddef.h>
#include <stdint.h>

/* Calls of ibv_reg_mr*() that made a registration. */
__attribute__((weak)) unsigned fake_registrations(void);
/* Registrations there are now. */
__attribute__((weak)) unsigned fake_live(void);
/* Fail with ENOMEM where more bytes would be registered; 0: no limit. */
__attribute__((weak)) void fake_limit(size_t bytes);
/* The registration made last, as it was asked for. */
__attribute__((weak)) void fake_last(void **addr, size_t *length, uint64_t *iova, unsigned *access);

#endif
