/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the two processes tell each other beside the transfers. */
#include "rma.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

void send_all(int socket, const void *message, size_t length)
{
    if (send(socket, message, length, MSG_NOSIGNAL) != (ssize_t)length) {
        perror("send");
        exit(1);
    }
}

bool receive_all(int socket, void *message, size_t length)
{
    ssize_t got = recv(socket, message, length, MSG_WAITALL);
    if (got != 0 && got != (ssize_t)length) {
        perror("recv");
        exit(1);
    }
    return got != 0;
}
