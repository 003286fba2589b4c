# SPDX-License-Identifier: MIT OR Apache-2.0
# The guest: a shell in it, and the tests that need it.
#
#   make vm                     a shell, /dev/kdreg and a soft-RoCE device there
#   make vm VM_OPTIONS=...      options of ctest/vm/run besides
#   make test-kernel            the tests labelled "kernel", on the stock kernel
#   make test-debug-kernel      the same under KASAN, lockdep and kmemleak; less
#                               of it: what repeats itself does so a tenth as often
#   make test-kernel-arm64      the device tests and the matrix on the stock arm64
#                               kernel, emulated, with libkdreg built for it; what
#                               repeats itself does so a fourth as often
#   ... GUEST_TESTS=<regex>     only the tests whose names match
#   make test-kernel GUESTS=1   one guest after the other; a guest has 3 GiB, and
#                               two run beside each other where there are eight
#   make test-arm64             the library's own C tests, matrix and storms, on
#                               the stock arm64 kernel, emulated, without the
#                               module; ARM64_TESTS=<regex>: only some;
#                               ARM64_PAGES=16k: on the one with larger pages

VM_TOP := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))/..)
CTEST_BUILD ?= $(VM_TOP)/target/ctest
# Where nothing else was asked for, all; on arm64, what is about the kernel.
test-kernel-arm64: GUEST_TESTS ?= ^(device|verbs)-|^kernel-matrix$$|^guest-
GUEST_TESTS ?= .
GUESTS ?= $(shell awk '/^MemAvailable/ { print ($$2 > 8000000 ? 2 : 1) }' /proc/meminfo)
VM_RUN := $(VM_TOP)/ctest/vm/run

.PHONY: vm vm-prerequisites kernel-tree-ahead test-kernel test-debug-kernel test-kernel-arm64 \
        test-arm64 arm64-programs test-vm

vm-prerequisites:
	@$(VM_TOP)/ctest/vm/prerequisites

# What tests begin with while they still do other things, if there is a stage that
# needs it. Who needs a stock kernel that cannot be had says so.
kernel-tree-ahead: vm-prerequisites
	@$(MAKE) --no-print-directory kernel-tree
	-@for kernel in $(if $(filter test-bpf,$(STAGES)),$(BPF_KERNELS)); do $(VM_TOP)/kernel/tree/stock-kernel $$kernel; done

vm: vm-prerequisites module
	@$(VM_RUN) --interactive --module $(VM_TOP)/kernel/kdreg.ko --rdma $(VM_OPTIONS)

# The rig itself: does it notice what it is there to notice?
test-vm: vm-prerequisites kernel-tree
	@$(VM_TOP)/ctest/vm/selftest

test-kernel: vm-prerequisites module kernel-programs
	KDREG_GUEST_TESTS='$(GUEST_TESTS)' ctest --test-dir $(CTEST_BUILD) --parallel $(GUESTS) --output-on-failure --no-tests=error -L kernel -R '$(GUEST_TESTS)'

# Checked code in an emulated machine is slow and large: limits are stretched,
# and work is cut. Instructions are not counted there. Ends with a table of all
# that ran, whether or not it passed.
test-debug-kernel: vm-prerequisites debug-module kernel-programs
	KDREG_GUEST_TESTS='$(GUEST_TESTS)' KDREG_VM_OPTIONS="--debug --memory 4096" KDREG_VM_MODULE=$(KDREG_DEBUG_MODULE) KDREG_TEST_SLOWNESS=10 \
	ctest --test-dir $(CTEST_BUILD) --output-on-failure --no-tests=error -L kernel -LE instructions \
	    -R '$(GUEST_TESTS)'; \
	status=$$?; $(VM_TOP)/ctest/vm/summary $(CTEST_BUILD) && exit $$status

# Not part of make test: an emulated machine of another architecture has no
# other way than to be slow.
test-kernel-arm64: arm64-module arm64-programs
	KDREG_GUEST_TESTS='$(GUEST_TESTS)' KDREG_VM_OPTIONS="--arch arm64" KDREG_VM_MODULE=$(KDREG_ARM64_MODULE) KDREG_TEST_SLOWNESS=4 \
	ctest --test-dir $(VM_TOP)/target/arm64/ctest --output-on-failure --no-tests=error -L kernel -LE instructions \
	    -R '$(GUEST_TESTS)'; \
	status=$$?; $(VM_TOP)/ctest/vm/summary $(VM_TOP)/target/arm64/ctest && exit $$status

ARM64_TESTS ?= all
ARM64_PAGES ?= 4k
test-arm64: arm64-programs
	@KDREG_VM_OPTIONS='$(KDREG_VM_OPTIONS) --pages $(ARM64_PAGES)' sh $(VM_TOP)/scripts/test-arm64.sh '$(ARM64_TESTS)'

arm64-programs: arm64-tree
	@$(VM_TOP)/ctest/vm/prerequisites arm64
	@sh $(VM_TOP)/scripts/build-arm64.sh

.PHONY: kernel-programs
kernel-programs:
	cmake -S $(VM_TOP)/ctest -B $(CTEST_BUILD)
	cmake --build $(CTEST_BUILD)
