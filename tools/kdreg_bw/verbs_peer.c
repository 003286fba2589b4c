/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE
#include "verbs_peer.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 10 /* seconds that a client waits for its server to come up */

static int made(struct peer *peer, int fd)
{
    int twin = dup(fd);

    peer->in = fdopen(fd, "r");
    peer->out = twin < 0 ? NULL : fdopen(twin, "w");
    if (peer->in && peer->out)
        return 0;
    fprintf(stderr, "kdreg_bw: %s\n", strerror(errno));
    return -ENOMEM;
}

static int look_up(const char *host, const char *port, int flags, struct addrinfo **list)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags };
    int ret = getaddrinfo(host, port, &hints, list);

    if (!ret)
        return 0;
    fprintf(stderr, "kdreg_bw: %s: %s\n", host ? host : port, gai_strerror(ret));
    return -EHOSTUNREACH;
}

int peer_listen(struct peer *peer, const char *port)
{
    struct addrinfo *list;
    int one = 1, fd = -1, accepted, ret = look_up(NULL, port, AI_PASSIVE, &list);

    if (ret)
        return ret;
    for (struct addrinfo *info = list; info && fd < 0; info = info->ai_next) {
        fd = socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC, info->ai_protocol);
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (bind(fd, info->ai_addr, info->ai_addrlen) || listen(fd, 1)) {
            ret = -errno;
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    if (fd < 0) {
        fprintf(stderr, "kdreg_bw: TCP port %s: %s; choose another with --port, on both ends\n", port, strerror(-ret));
        return ret ? ret : -EADDRNOTAVAIL;
    }
    printf("waiting for kdreg_bw --connect on TCP port %s\n", port);
    fflush(stdout);
    do
        accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    while (accepted < 0 && errno == EINTR);
    ret = -errno;
    close(fd);
    if (accepted < 0) {
        fprintf(stderr, "kdreg_bw: accept: %s\n", strerror(-ret));
        return ret;
    }
    return made(peer, accepted);
}

int peer_connect(struct peer *peer, const char *host, const char *port)
{
    struct timespec pause = { 0, 200000000 };
    time_t end = time(NULL) + PATIENCE;
    int error;

    do {
        struct addrinfo *list;
        int ret = look_up(host, port, 0, &list);
        if (ret)
            return ret;
        error = EADDRNOTAVAIL;
        for (struct addrinfo *info = list; info; info = info->ai_next) {
            int fd = socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC, info->ai_protocol);
            if (fd >= 0 && !connect(fd, info->ai_addr, info->ai_addrlen)) {
                freeaddrinfo(list);
                return made(peer, fd);
            }
            error = errno;
            if (fd >= 0)
                close(fd);
        }
        freeaddrinfo(list);
        nanosleep(&pause, NULL);
    } while (time(NULL) < end);
    fprintf(stderr, "kdreg_bw: %s, TCP port %s: %s; start kdreg_bw --listen there first\n", host, port,
            strerror(error));
    return -error;
}

int peer_read(struct peer *peer, char *line, size_t size)
{
    if (!fgets(line, (int)size, peer->in))
        return -EPIPE;
    line[strcspn(line, "\n")] = 0;
    return 0;
}

int peer_write(struct peer *peer, const char *format, ...)
{
    va_list arguments;
    int ret;

    va_start(arguments, format);
    ret = vfprintf(peer->out, format, arguments);
    va_end(arguments);
    return ret < 0 || fflush(peer->out) ? -EPIPE : 0;
}

void peer_close(struct peer *peer)
{
    if (peer->in)
        fclose(peer->in);
    if (peer->out)
        fclose(peer->out);
    peer->in = peer->out = NULL;
}
