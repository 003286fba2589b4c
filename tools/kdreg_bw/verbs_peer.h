/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The two ends' conversation over TCP: a line each way. Functions return 0 or a
 * negative errno, and have said what is wrong. */
#ifndef KDREG_BW_VERBS_PEER_H
#define KDREG_BW_VERBS_PEER_H

#include <stdio.h>

struct peer {
    FILE *in, *out;
};

int peer_listen(struct peer *peer, const char *port);
int peer_connect(struct peer *peer, const char *host, const char *port);
/* A line of at most size-1 characters, the newline taken off; -EPIPE when the other end is gone. */
int peer_read(struct peer *peer, char *line, size_t size);
__attribute__((format(printf, 2, 3))) int peer_write(struct peer *peer, const char *format, ...);
void peer_close(struct peer *peer);

#endif
