# SPDX-License-Identifier: MIT OR Apache-2.0
# Runtimes that manage threads and memory by themselves, with the library in them.
#
#   make test-runtimes                    CPython, OpenJDK and Go, as far as they are installed
#   make test-runtimes RUNTIMES=openjdk   one of them
#   make test-runtimes RUNTIME_SECONDS=60 so long each

RUNTIMES ?= cpython openjdk go
RUNTIME_SECONDS ?= 20
STAGES += test-runtimes
SPARE += test-runtimes

.PHONY: test-runtimes
test-runtimes: prefix ## CPython, OpenJDK and Go, each under a load of munmap
	@sh scripts/test-runtimes.sh $(RUNTIME_SECONDS) $(RUNTIMES)
