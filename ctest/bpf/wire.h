/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a client and kdregd say to each other (libkdreg/src/monitor/change_log/abi.rs), for clients that do not keep to it. */
#ifndef KDREG_BPF_WIRE_H
#define KDREG_BPF_WIRE_H

#include <stdbool.h>
#include <stdint.h>

enum { WIRE_HELLO = 1, WIRE_CHALLENGE, WIRE_PROOF, WIRE_GRANT, WIRE_REFUSED, WIRE_KEEP, WIRE_STATUS, WIRE_STATUS_PART };
enum { WIRE_VERSION = 1, WIRE_NOTIFIER = 1, WIRE_FLUSH = 2, WIRE_LONGEST = 32 << 10, WIRE_DESCRIPTORS = 16 };

/* Of the guard's word (GUARD_UNCERTAIN): changes need not be logged now. */
enum { WIRE_UNCERTAIN = 0xffff };

struct wire_header {
    uint32_t kind, size;
};
struct wire_hello {
    struct wire_header header;
    uint32_t version, capacity;
    uint64_t flags;
};
struct wire_challenge {
    struct wire_header header;
    uint64_t nonce;
    uint32_t modes, subscribed_modes;
};
struct wire_proof {
    struct wire_header header;
    uint64_t nonce;
    uint32_t mode, reserved;
};
struct wire_grant {
    struct wire_header header;
    uint32_t mode, capacity;
    uint64_t capabilities, identity, log_bytes, guard_bytes, ring_bytes;
    char text[160];
};
struct wire_refused {
    struct wire_header header;
    int32_t status;
    uint32_t reserved;
    char text[160];
};
struct wire_status {
    struct wire_header header;
    uint32_t version, reserved;
};

/* What was received: a message, and the descriptors that came with it. */
struct wire_received {
    union {
        struct wire_header header;
        struct wire_challenge challenge;
        struct wire_grant grant;
        struct wire_refused refused;
        char bytes[WIRE_LONGEST];
    };
    long length; /* 0: the other end has closed; -errno */
    int fds[WIRE_DESCRIPTORS];
    int fd_count;
};

/* Whether that is a refusal which says to try again. */
bool wire_asks_again(const struct wire_received *received);

/* A connection with kdregd, or -errno. */
int wire_connect(void);

/* Sends any bytes as one message. Returns 0 or -errno. */
int wire_send(int socket, const void *bytes, unsigned long length);

/* Waits for a message, ten minutes at most, which only a hang takes (-ETIMEDOUT). */
void wire_receive(int socket, struct wire_received *received);

/* Closes the descriptors that came. */
void wire_close(struct wire_received *received);

struct wire_hello wire_hello(uint32_t capacity);
struct wire_proof wire_proof(uint64_t nonce, uint32_t mode);

/* From connect to grant, in whatever mode is offered without a subscription, or after one by /dev/kvm. Returns the connection, with what
 * was granted (or not) in *received; or -errno. */
int wire_enrol(uint32_t capacity, struct wire_received *received);

/* Has the kernel tell of this address space's changes; false where /dev/kvm cannot be opened. */
int wire_subscribe(void);

/* A member of kdregd's own account of itself, in JSON, that is a number: the first of that name. -1: there is none, or no kdregd. */
long wire_status(const char *member);

#endif
