# SPDX-License-Identifier: MIT OR Apache-2.0
# The kernel module and the tree it is built in.
#
#   make kernel-tree            a Rust-ready tree for Debian's stock kernel: the
#                               newest that the archive has whole, out of the
#                               series that the module is written for
#   ... KERNEL_SERIES="7.2"     out of these instead
#   ... KERNEL_ABI=<name>       this one, as in linux-image-<name>
#   make stock-kernels          other stock kernels for guests, from packages alone:
#                               the newest of each series, and the newest of all
#   ... STOCK_KERNELS="6.1"     these
#   make module                 kernel/kdreg.ko, built in that tree
#   make module KDIR=<dir>      built in a tree of your own (headers with Rust
#                               metadata, such as /lib/modules/$(uname -r)/build)
#   make debug-kernel           a KASAN, lockdep and kmemleak kernel
#   make debug-module           the module for it, outside the source directory
#   make arm64-tree             a tree for Debian's stock arm64 kernel, and the
#                               root file system of an arm64 guest
#   make arm64-module           the module for it, in target/arm64/module
#
# KERNEL_TREE_DIR=<dir> puts the trees elsewhere than under target/, or shares
# them between checkouts.

KDREG_TOP := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))/..)

KERNEL_TREE_DIR ?= $(KDREG_TOP)/target/kernel
export KERNEL_TREE_DIR
KDREG_DEBUG_MODULE := $(KERNEL_TREE_DIR)/debug/module/kdreg.ko
KDREG_ARM64_MODULE := $(KDREG_TOP)/target/arm64/module/kdreg.ko

STAGES += test-kernel-tree

.PHONY: test-kernel-tree kernel-tree stock-kernels module module-clean debug-kernel debug-module \
        arm64-tree arm64-module

test-kernel-tree: ## Which kernel would be taken, and which the module is built for
	@$(KDREG_TOP)/kernel/tree/selftest

kernel-tree:
	@$(KDREG_TOP)/kernel/tree/make-tree

# What BPF programs are tested on: long-term kernels that distributions have, and
# the newest. One that is not to be had is named, and the others are fetched.
STOCK_KERNELS ?= 6.1 6.12 newest

stock-kernels: kernel-tree
	@status=0; for kernel in $(STOCK_KERNELS); do \
	    $(KDREG_TOP)/kernel/tree/stock-kernel --refresh $$kernel >/dev/null || status=1; \
	done; exit $$status

ifeq ($(KDIR),)
module: kernel-tree
	@$(KDREG_TOP)/kernel/tree/kmake M=$(KDREG_TOP)/kernel modules
module-clean:
	@$(KDREG_TOP)/kernel/tree/kmake M=$(KDREG_TOP)/kernel clean
else
module:
	$(MAKE) -C $(KDIR) M=$(KDREG_TOP)/kernel modules
module-clean:
	$(MAKE) -C $(KDIR) M=$(KDREG_TOP)/kernel clean
endif

debug-kernel: kernel-tree
	@$(KDREG_TOP)/kernel/tree/make-debug-kernel

arm64-tree: kernel-tree
	@$(KDREG_TOP)/kernel/tree/make-arm64-tree

# From a copy of the sources: kbuild's MO= refuses to build elsewhere while
# products of the stock build lie beside them.
copy-module-sources = mkdir -p $(dir $(1)) && rm -rf $(dir $(1))*.rs $(dir $(1))regions && \
    cp -rpL $(KDREG_TOP)/kernel/Kbuild $(KDREG_TOP)/kernel/*.rs $(KDREG_TOP)/kernel/regions $(dir $(1))

arm64-module: arm64-tree
	@$(call copy-module-sources,$(KDREG_ARM64_MODULE))
	@$(KDREG_TOP)/kernel/tree/kmake --arm64 M=$(dir $(KDREG_ARM64_MODULE)) modules

debug-module: debug-kernel
	@$(call copy-module-sources,$(KDREG_DEBUG_MODULE))
	@$(KDREG_TOP)/kernel/tree/kmake --debug --bind $(KERNEL_TREE_DIR) \
	    M=$(dir $(KDREG_DEBUG_MODULE)) modules
