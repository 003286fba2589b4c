# SPDX-License-Identifier: MIT OR Apache-2.0
# The bpf backend in guests with stock kernels.
#
#   make test-bpf                    on each of BPF_KERNELS, in both modes, a
#                                    little of what finds the most: minutes
#   make test-bpf-full               all tests
#   make test-bpf BPF_KERNELS=6.12   on one: of it all that else comes in turn;
#                                    with BPF_TESTS='ahead|priorities|flushes' some
#   make test-bpf-long               10^6 changes for the hostile test, all of the
#                                    matrix, 4,096 clients: hours
#   make test-bpf-consumers          verbs, libfabric and Open MPI on it, where
#                                    soft-RoCE is; BPF_TESTS=<regex>: some
#   make bpf-cost                    what it costs there, in instructions
# What else can be chosen: the head of scripts/test-bpf.sh.

BPF_KERNELS ?= 6.1 6.12 newest

STAGES += test-bpf

.PHONY: test-bpf test-bpf-full test-bpf-long test-bpf-consumers bpf-cost bpf-programs
test-bpf: bpf-programs ## kdregd and the bpf backend on three stock kernels, in guests
	@BPF_SET=short bash scripts/test-bpf.sh $(BPF_KERNELS)

test-bpf-full: bpf-programs
	@bash scripts/test-bpf.sh $(BPF_KERNELS)

test-bpf-long: bpf-programs
	@BPF_CHANGES=1000000 BPF_ALL_WAYS=1 BPF_MATRIX_EVERY=1 BPF_CLIENTS=4096 BPF_CELLS=all bash scripts/test-bpf.sh $(BPF_KERNELS)

test-bpf-consumers: bpf-programs ## verbs, libfabric and Open MPI on the bpf backend, in guests
	@bash scripts/test-bpf-consumers.sh $(BPF_KERNELS)

bpf-programs: vm-prerequisites kernel-tree kdregd prefix
	@sh scripts/test-c.sh build

bpf-cost: bpf-programs module
	@bash scripts/bpf-cost.sh $(BPF_KERNELS)
