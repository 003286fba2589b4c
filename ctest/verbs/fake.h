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
/* Whether ibv_rereg_mr() can do anything. */
__attribute__((weak)) void fake_has_rereg(int has);
/* Whether the card lets somebody with this key do this at the range. */
__attribute__((weak)) int fake_reach(uint32_t key, const void *addr, size_t length, unsigned access);
/* The lkey of the next registration, one that is gone; after it they go on as before. */
__attribute__((weak)) void fake_next_key(uint32_t lkey);
/* Ranges prefetched. */
__attribute__((weak)) unsigned fake_prefetches(void);

struct ibv_qp;
struct ibv_srq;
/* A message of bytes like this comes for a queue pair: into the receive that is next, or nowhere. What its completion says
 * (an ibv_wc_status), or -1 when none was posted. */
__attribute__((weak)) int fake_arrive(struct ibv_qp *qp, int byte);
/* The send queue's next request is done: answers are bytes like this. As above. */
__attribute__((weak)) int fake_answer(struct ibv_qp *qp, int byte);
/* The number of the next queue pair; after it they go on as before. */
__attribute__((weak)) void fake_next_number(unsigned number);
/* Whether posting fails without saying which request was refused. */
__attribute__((weak)) void fake_mute(int mute);

#endif
