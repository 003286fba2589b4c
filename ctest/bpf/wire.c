/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See wire.h. */
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "../check.h"
#include "wire.h"

#ifndef KVM_CREATE_VM
#define KVM_CREATE_VM _IO(0xAE, 0x01)
#endif

int wire_connect(void)
{
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    const char *path = getenv("KDREG_BPF_SOCKET");
    snprintf(where.sun_path, sizeof where.sun_path, "%s", path && *path ? path : "/run/kdreg/kdregd.sock");
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&where, sizeof where)) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

int wire_send(int socket, const void *bytes, unsigned long length)
{
    return send(socket, bytes, length, MSG_NOSIGNAL) == (ssize_t)length ? 0 : -errno;
}

void wire_receive(int socket, struct wire_received *received)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * WIRE_DESCRIPTORS)];
        struct cmsghdr align;
    } control;
    struct iovec into = {received->bytes, sizeof received->bytes};
    struct msghdr message = {.msg_iov = &into, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    struct pollfd ready = {socket, POLLIN, 0};
    received->fd_count = 0;
    if (poll(&ready, 1, 600000) != 1) {
        received->length = -ETIMEDOUT;
        return;
    }
    received->length = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    /* Said once to who was still speaking; what was answered before is behind it. */
    if (received->length < 0 && errno == ECONNRESET)
        received->length = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (received->length < 0)
        received->length = -errno;
    for (struct cmsghdr *part = received->length < 0 ? NULL : CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part))
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS) {
            received->fd_count = (int)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            memcpy(received->fds, CMSG_DATA(part), (size_t)received->fd_count * sizeof(int));
        }
    if (received->length >= 0 && received->length < (long)sizeof received->bytes)
        received->bytes[received->length] = 0;
}

void wire_close(struct wire_received *received)
{
    while (received->fd_count > 0)
        close(received->fds[--received->fd_count]);
}

struct wire_hello wire_hello(uint32_t capacity)
{
    return (struct wire_hello){{WIRE_HELLO, sizeof(struct wire_hello)}, WIRE_VERSION, capacity, 0};
}

struct wire_proof wire_proof(uint64_t nonce, uint32_t mode)
{
    return (struct wire_proof){{WIRE_PROOF, sizeof(struct wire_proof)}, nonce, mode, 0};
}

int wire_subscribe(void)
{
    static pid_t subscribed;
    /* It lasts as long as the process's memory, and takes its time where thousands do it at once. */
    if (subscribed == getpid())
        return true;
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0)
        return false;
    int machine = ioctl(kvm, KVM_CREATE_VM, 0);
    close(kvm);
    if (machine >= 0) {
        close(machine);
        subscribed = getpid();
    }
    return machine >= 0;
}

bool wire_asks_again(const struct wire_received *received)
{
    return received->length > 0 && received->header.kind == WIRE_REFUSED && received->refused.status == -EAGAIN;
}

int wire_enrol(uint32_t capacity, struct wire_received *received)
{
    int connection = wire_connect();
    received->fd_count = 0;
    if (connection < 0)
        return connection;
    struct wire_hello hello = wire_hello(capacity);
    wire_send(connection, &hello, sizeof hello);
    wire_receive(connection, received);
    if (received->length >= (long)sizeof received->challenge && received->header.kind == WIRE_CHALLENGE) {
        uint32_t modes = received->challenge.modes, subscribed = received->challenge.subscribed_modes;
        uint32_t mode = modes & 1 << WIRE_NOTIFIER && (!(subscribed & 1 << WIRE_NOTIFIER) || wire_subscribe()) ? WIRE_NOTIFIER : WIRE_FLUSH;
        struct wire_proof proof = wire_proof(received->challenge.nonce, mode);
        wire_send(connection, &proof, sizeof proof);
        wire_receive(connection, received);
    }
    return connection;
}

long wire_status(const char *member)
{
    struct wire_status request = {{WIRE_STATUS, sizeof request}, WIRE_VERSION, 0};
    struct wire_received *part = calloc(1, sizeof *part);
    char *text = calloc(1, 1), quoted[64];
    int connection = wire_connect();
    bool more = connection >= 0 && wire_send(connection, &request, sizeof request) == 0;
    while (more) {
        wire_receive(connection, part);
        if (part->length < (long)sizeof(struct wire_status) || part->header.kind != WIRE_STATUS_PART)
            break;
        more = ((const uint32_t *)part->bytes)[2];
        size_t had = strlen(text), comes = (size_t)part->length - sizeof(struct wire_status);
        text = realloc(text, had + comes + 1);
        memcpy(text + had, part->bytes + sizeof(struct wire_status), comes);
        text[had + comes] = 0;
    }
    if (connection >= 0)
        close(connection);
    snprintf(quoted, sizeof quoted, "\"%s\"", member);
    const char *at = strstr(text, quoted);
    long value = -1;
    if (at && sscanf(at + strlen(quoted), " : %ld", &value) != 1)
        value = -1;
    free(text);
    free(part);
    return value;
}
