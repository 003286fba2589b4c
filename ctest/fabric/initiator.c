/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The process that writes: first step by step, then in a storm. */
#define _GNU_SOURCE
#include "monitor.h"
#include "pattern.h"
#include "rma.h"
#include "stations.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Addresses that the threads fight for: fewer than there are threads would have them wait. */
#define STATIONS 6

struct station {
    pthread_mutex_t lock; /* protects what is mapped at `memory`, and the key */
    char *memory;
    uint64_t key; /* of the last registration made here; 0: none */
    bool mapped;
};

struct worker {
    pthread_t thread;
    const struct options *options;
    struct endpoint *endpoint;
    struct station *stations;
    int socket;
    struct report at; /* where to write */
    uint64_t random;
    struct counts counts;
};

static uint64_t next_random(struct worker *worker)
{
    uint64_t x = worker->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return worker->random = x;
}

static void map(struct station *station, size_t length)
{
    station_map(station->memory, length, station->mapped);
    station->mapped = true;
}

/* One transfer from a station; `fresh`: its memory was replaced since the last. */
static void transfer(struct worker *worker, struct station *station, bool fresh)
{
    size_t length = worker->options->length;
    struct order order = { .seed = next_random(worker), .remap = next_random(worker) % 3 == 0 };
    pattern_fill(station->memory, length, order.seed);
    struct fid_mr *mr = endpoint_register(worker->endpoint, station->memory, length, FI_WRITE);
    if (fi_mr_key(mr) != station->key)
        worker->counts.registrations++;
    else if (fresh)
        worker->counts.stale++;
    else
        worker->counts.hits++;
    station->key = fi_mr_key(mr);
    endpoint_write(worker->endpoint, station->memory, length, mr, worker->at.address, worker->at.key);
    must("fi_close(mr)", fi_close(&mr->fid));
    send_all(worker->socket, &order, sizeof order);
    if (!receive_all(worker->socket, &worker->at, sizeof worker->at)) {
        fprintf(stderr, "the target is gone\n");
        exit(1);
    }
    worker->counts.transfers++;
    worker->counts.corrupted += worker->at.wrong != 0;
    worker->counts.stale += worker->at.stale;
}

static void unmap(struct worker *worker, struct station *station)
{
    size_t length = worker->options->length;
    switch (next_random(worker) % (worker->options->libc_only ? 2 : 4)) {
    case 0:
        munmap(station->memory, length);
        break;
    case 1: /* the next mapping replaces it */
        return;
    case 2:
        syscall(SYS_munmap, station->memory, length);
        break;
    default:
        syscall(SYS_madvise, station->memory, length, MADV_DONTNEED);
        return;
    }
    station->mapped = false;
}

static void *storm(void *argument)
{
    struct worker *worker = argument;
    for (int round = 0; round < worker->options->rounds; round++) {
        struct station *station;
        do
            station = &worker->stations[next_random(worker) % STATIONS];
        while (pthread_mutex_trylock(&station->lock));
        /* One in four goes on with the memory that is there, discarded pages or not. */
        bool fresh = !station->mapped || next_random(worker) % 4;
        if (fresh)
            map(station, worker->options->length);
        for (uint64_t i = next_random(worker) % 3 + 1; i > 0; i--) {
            transfer(worker, station, fresh);
            fresh = false;
        }
        unmap(worker, station);
        pthread_mutex_unlock(&station->lock);
    }
    return NULL;
}

/* libfabric's cache registers everything for writing: memory that cannot be written is an error, which must leave all else as it was. */
static void read_only(struct worker *worker)
{
    size_t length = worker->options->length;
    void *memory = mmap(NULL, length, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct fid_mr *mr;
    int result = fi_mr_reg(worker->endpoint->domain, memory, length, FI_WRITE, 0, 0, 0, &mr, NULL);
    printf("read-only memory: %s\n", result ? fi_strerror(-result) : "registered");
    if (!result)
        must("fi_close(mr)", fi_close(&mr->fid));
    munmap(memory, length);
}

/* What must hold without any storm; returns the number of what does not. */
static int steps(struct worker *worker)
{
    const struct options *options = worker->options;
    struct station *station = &worker->stations[0];
    int failures = 0;
    map(station, options->length);
    transfer(worker, station, true);
    for (int i = 0; i < 10; i++)
        transfer(worker, station, false);
    printf("ten transfers from the same memory: %lu hits, %lu registrations\n", worker->counts.hits,
           worker->counts.registrations);
    if (worker->counts.hits != 10 && !options->uncached) {
        printf("FAILED: repeated transfers do not hit\n");
        failures++;
    }
    read_only(worker);
    munmap(station->memory, options->length);
    station->mapped = false;
    map(station, options->length);
    transfer(worker, station, true);
    printf("unmapped, and mapped anew at the same address: %s\n", worker->counts.stale ? "found stale" : "registered anew");
    if (worker->counts.stale || worker->counts.corrupted) {
        printf("FAILED: %lu stale registrations, %lu corrupted transfers\n", worker->counts.stale, worker->counts.corrupted);
        failures++;
    }
    return failures;
}

int initiator_run(const struct options *options, const int *sockets)
{
    static struct station stations[STATIONS];
    struct worker workers[MAX_THREADS];
    struct endpoint endpoint;
    char ready;

    for (int i = 0; i < STATIONS; i++) {
        pthread_mutex_init(&stations[i].lock, NULL);
        stations[i].memory = station_address((size_t)i);
    }
    if (!receive_all(sockets[0], &ready, sizeof ready))
        return 0; /* the target has said why */
    endpoint_find(&endpoint, options->address, "7471", 0);
    monitor_t monitor = monitor_import();
    endpoint_open(&endpoint);
    endpoint_connect(&endpoint);
    for (int i = 0; i < options->threads; i++) {
        workers[i] = (struct worker){ .options = options, .endpoint = &endpoint, .stations = stations,
                                      .socket = sockets[i], .random = 0x2545f4914f6cdd1du + (uint64_t)i };
        if (!receive_all(sockets[i], &workers[i].at, sizeof workers[i].at))
            return 1;
    }
    int failures = steps(&workers[0]);
    printf("storm: %d threads, %d rounds each, %d addresses ...\n", options->threads, options->rounds, STATIONS);
    for (int i = 0; i < options->threads; i++)
        must("pthread_create", -pthread_create(&workers[i].thread, NULL, storm, &workers[i]));
    struct counts all = { 0 };
    for (int i = 0; i < options->threads; i++) {
        pthread_join(workers[i].thread, NULL);
        all.transfers += workers[i].counts.transfers;
        all.registrations += workers[i].counts.registrations;
        all.hits += workers[i].counts.hits;
        all.stale += workers[i].counts.stale;
        all.corrupted += workers[i].counts.corrupted;
    }
    monitor_check(monitor, "initiator");
    endpoint_close(&endpoint);
    monitor_release(monitor);
    printf("transfers %lu, registrations %lu, hits %lu, stale %lu, corrupted %lu\n", all.transfers, all.registrations,
           all.hits, all.stale, all.corrupted);
    if (all.stale || all.corrupted || (!options->uncached && !all.hits))
        failures++;
    if (options->compare) {
        printf("for comparison only: %s\n", failures ? "this monitor does not hold" : "this monitor held this time");
        return 0;
    }
    puts(failures ? "FAILED" : "passed");
    return failures ? 1 : 0;
}
