# SPDX-License-Identifier: MIT OR Apache-2.0
# The bpf backend in guests with stock kernels.
#
#   make test-bpf                    on each of BPF_KERNELS what takes a minute
#   make test-bpf-full               all of it, the matrix and storms included
#   make test-bpf BPF_KERNELS=6.12   on one
#   make test-bpf-long               10^6 changes for the hostile test, all of the
#                                    matrix, 4,096 clients: hours
#   make bpf-cost                    what it costs there, in instructions
# What else can be chosen: the head of scripts/test-bpf.sh.

BPF_KERNELS ?= 6.1 6.12 newest
# By hand for the time being: no stage of `make test` before all of it was seen
# to pass on each kernel.

.PHONY: test-bpf test-bpf-full test-bpf-long bpf-cost
test-bpf: vm-prerequisites kernel-tree kdregd prefix ## kdregd and the bpf backend on three stock kernels, in guests
	@sh scripts/test-c.sh build
	@BPF_TESTS='check|10-changes|hostile|foreign|phases' bash scripts/test-bpf.sh $(BPF_KERNELS)

test-bpf-full: vm-prerequisites kernel-tree kdregd prefix
	@sh scripts/test-c.sh build
	@bash scripts/test-bpf.sh $(BPF_KERNELS)

test-bpf-long: vm-prerequisites kernel-tree kdregd prefix
	@sh scripts/test-c.sh build
	@BPF_CHANGES=1000000 BPF_ALL_WAYS=1 BPF_MATRIX_EVERY=1 BPF_CLIENTS=4096 bash scripts/test-bpf.sh $(BPF_KERNELS)

bpf-cost: vm-prerequisites module kdregd prefix
	@sh scripts/test-c.sh build
	@bash scripts/bpf-cost.sh $(BPF_KERNELS)
