/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The process that is written to: checks what arrived, and replaces its memory when told to. */
#define _GNU_SOURCE
#include "monitor.h"
#include "pattern.h"
#include "rma.h"
#include "stations.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

struct slot {
    pthread_t thread;
    const struct options *options;
    struct endpoint *endpoint;
    int socket, number;
};

static void *serve(void *argument)
{
    struct slot *slot = argument;
    size_t length = slot->options->length;
    void *memory = station_map(station_address((size_t)slot->number), length, 0);
    struct fid_mr *mr = endpoint_register(slot->endpoint, memory, length, FI_REMOTE_WRITE);
    struct report report = { .address = (uint64_t)memory, .key = fi_mr_key(mr) };
    struct order order;
    for (;;) {
        send_all(slot->socket, &report, sizeof report);
        if (!receive_all(slot->socket, &order, sizeof order))
            break;
        report.wrong = pattern_wrong(memory, length, order.seed);
        report.stale = false;
        if (order.remap) {
            must("fi_close(mr)", fi_close(&mr->fid));
            munmap(memory, length);
            station_map(memory, length, 0);
            mr = endpoint_register(slot->endpoint, memory, length, FI_REMOTE_WRITE);
            report.stale = fi_mr_key(mr) == report.key;
            report.key = fi_mr_key(mr);
        }
    }
    must("fi_close(mr)", fi_close(&mr->fid));
    munmap(memory, length);
    return NULL;
}

int target_run(const struct options *options, const int *sockets)
{
    struct endpoint endpoint;
    char ready = 1;
    endpoint_find(&endpoint, options->address, "7471", 1);
    monitor_t monitor = monitor_import();
    endpoint_open(&endpoint);
    endpoint_listen(&endpoint);
    send_all(sockets[0], &ready, sizeof ready);
    endpoint_accept(&endpoint);

    struct slot slots[MAX_THREADS];
    for (int i = 0; i < options->threads; i++) {
        slots[i] = (struct slot){ .options = options, .endpoint = &endpoint, .socket = sockets[i], .number = i };
        must("pthread_create", -pthread_create(&slots[i].thread, NULL, serve, &slots[i]));
    }
    for (int i = 0; i < options->threads; i++)
        pthread_join(slots[i].thread, NULL);
    monitor_check(monitor, "target");
    endpoint_close(&endpoint);
    monitor_release(monitor);
    return 0;
}
