# SPDX-License-Identifier: MIT OR Apache-2.0
# Thin on purpose: what a target does is in scripts/, one script per concern.

PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DESTDIR    ?=
export PREFIX BINDIR LIBDIR INCLUDEDIR DESTDIR

# The newest cargo-c that Rust 1.95 builds; used when `cargo cbuild` is missing.
CARGO_C_VERSION ?= 0.10.24
export CARGO_C_VERSION

# What `make test` runs, in this order. mk/*.mk may add to it.
STAGES := prerequisites test-stages fmt clippy doc test-rust check-header library \
          check-compiles check-symbols check-elf check-archive check-neutral \
          check-install test-c check-readme test-valgrind test-asan
# Those that a machine that is slow today does without.
SPARE :=
# The tests in a guest, where mk/vm.mk brings them.
STAGES += $(if $(wildcard mk/vm.mk),test-kernel)

# Programs built here find the library of this tree first.
export PKG_CONFIG_PATH := $(CURDIR)/target/prefix/lib/pkgconfig$(if $(PKG_CONFIG_PATH),:$(PKG_CONFIG_PATH))

.PHONY: all library run install uninstall test test-stages help clean header \
        prerequisites prerequisites-run cargo-c prefix fmt clippy doc \
        test-rust test-weak-memory test-c test-valgrind test-asan check-header \
        check-compiles check-symbols check-elf check-archive check-neutral \
        check-install check-readme

all: library ## Build the library and kdreg_info (release)

library: ## The same, into target/dist
	@sh scripts/build-library.sh

run: prerequisites-run ## Build, install into target/prefix, and run kdreg_demo
	@sh scripts/run-demo.sh

install: library ## Install; takes PREFIX, LIBDIR, INCLUDEDIR, BINDIR, DESTDIR
	@sh scripts/install.sh install

uninstall: ## Remove what install put there (same variables)
	@sh scripts/install.sh uninstall

test: ## Everything below, with a summary at the end
	@AHEAD='cargo-c $(if $(wildcard mk/vm.mk),kernel-tree-ahead)' SPARE='$(SPARE)' sh scripts/stages.sh $(STAGES)

test-stages: ## What is said of stages that fail, skip themselves or cannot be run
	@sh scripts/test-stages.sh

prerequisites: ## Install what `make test` needs (apt, as root), or say what is missing
	@sh scripts/prerequisites.sh test

prerequisites-run:
	@sh scripts/prerequisites.sh run

fmt: ## rustfmt has nothing to change
	@sh scripts/test-rust.sh fmt

clippy: ## clippy has nothing to say
	@sh scripts/test-rust.sh clippy

doc: ## rustdoc has nothing to say
	@sh scripts/test-rust.sh doc

test-rust: ## Unit, integration and documentation tests, and the loom models
	@sh scripts/test-rust.sh test

# The models of the log take minutes without optimisation, and are left out of test-rust.
test-weak-memory: ## The lock-free protocols on a machine as weak as ARMv8, each order taken away
	@cargo test --release --locked -p libkdreg --test weak_memory -- --nocapture --test-threads 1

header: ## Generate include/kdreg.h anew
	@sh scripts/header.sh write

check-header: ## include/kdreg.h is what the source generates, and documents every function
	@sh scripts/header.sh check

check-compiles: ## C99 to C17 and C++11 to C++20 take the header without a warning
	@sh scripts/check-compiles.sh

check-symbols: library ## libkdreg.so exports kdreg.map and nothing else
	@sh scripts/check-symbols.sh

check-elf: library ## SONAME, needed libraries, no text relocations, no executable stack
	@sh scripts/check-elf.sh

check-archive: library ## libkdreg.a clashes with no other library, Rust ones included
	@sh scripts/check-archive.sh

check-neutral: ## No file names a path or a host of the machine it was written on
	@sh scripts/check-neutral.sh

check-readme: ## What README.md says, done in a clean clone
	@sh scripts/check-readme.sh

check-install: library cargo-c ## make install and cargo cinstall: same files; link and run from both
	@sh scripts/check-install.sh

test-c: prefix ## The C tests, by ctest, against the library in target/prefix
	@sh scripts/test-c.sh

test-valgrind: prefix ## Open, use, close under valgrind: no leak, no bad access
	@sh scripts/test-valgrind.sh

test-asan: ## The C tests under AddressSanitizer (needs a nightly toolchain)
	@sh scripts/test-asan.sh

prefix: library ## Install into target/prefix
	@PREFIX='$(CURDIR)/target/prefix' LIBDIR= INCLUDEDIR= BINDIR= DESTDIR= sh scripts/install.sh install

cargo-c:
	@sh scripts/cargo-c.sh

clean: ## Remove target/
	rm -rf target

help: ## This list
	@awk -f scripts/help.awk $(MAKEFILE_LIST)

-include mk/*.mk

# The programs of mk/vm.mk link the library too.
kernel-programs: prefix
