/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * MPI messages from and to memory that is mapped for a few of them and then given back: rank 0 sends, rank 1 receives and
 * checks every byte. All changes are made by ordinary system calls; one in four bypasses libc's functions, as allocators
 * with system calls of their own do.
 *
 *   mpirun -n 2 mpi_fresh [MESSAGES [LENGTH [MESSAGES-PER-MAPPING]]]
 *
 * Rank 1 prints: messages, mappings, corrupted, seconds. The exit status is 1 if a message was corrupted.
 */
#define _GNU_SOURCE
#include "pattern.h"
#include "stations.h"

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    long messages = argc > 1 ? atol(argv[1]) : 2000;
    size_t length = argc > 2 ? (size_t)atol(argv[2]) : 32768;
    long per_mapping = argc > 3 ? atol(argv[3]) : 4;
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (size != 2 || messages < 1 || length < 8 || length > STATION_STRIDE || length % 8 || per_mapping < 1) {
        fprintf(stderr, "usage: mpirun -n 2 mpi_fresh [MESSAGES [LENGTH, a multiple of 8 [MESSAGES-PER-MAPPING]]]\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    long corrupted = 0, mappings = 0;
    void *memory = NULL;
    MPI_Barrier(MPI_COMM_WORLD);
    double start = MPI_Wtime();
    for (long i = 0; i < messages; i++) {
        if (i % per_mapping == 0) {
            /* Always the same address, so that a stale registration is found again. */
            memory = station_map(station_address(0), length, 0);
            mappings++;
        }
        if (rank == 0) {
            pattern_fill(memory, length, (uint64_t)i + 1);
            MPI_Send(memory, (int)length, MPI_BYTE, 1, 0, MPI_COMM_WORLD);
        } else {
            MPI_Recv(memory, (int)length, MPI_BYTE, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            corrupted += pattern_wrong(memory, length, (uint64_t)i + 1) != 0;
        }
        if ((i + 1) % per_mapping == 0) {
            if (mappings % 4)
                munmap(memory, length);
            else
                syscall(SYS_munmap, memory, length);
        }
        if (rank == 1 && (i + 1) % 500 == 0)
            fprintf(stderr, "%ld of %ld messages\n", i + 1, messages);
    }
    double seconds = MPI_Wtime() - start;
    MPI_Bcast(&corrupted, 1, MPI_LONG, 1, MPI_COMM_WORLD);
    if (rank == 1) {
        printf("messages %ld mappings %ld corrupted %ld seconds %.1f\n", messages, mappings, corrupted, seconds);
        fflush(stdout);
    }
    MPI_Finalize();
    return corrupted ? 1 : 0;
}
