# SPDX-License-Identifier: MIT OR Apache-2.0
# Does a program behave with the library as without?
#
#   make harmless               every call on every kind of memory: the tables of
#                               docs/harmless.md, as they are on this machine
#   make harmless-docs          the same, into docs/harmless.md
#
# `make test-c` checks results and that page, by the test "harmless".

.PHONY: harmless harmless-docs harmless-program

harmless: harmless-program ## What a program sees of its memory with the library, and without
	@sh scripts/harmless.sh show

harmless-docs: harmless-program
	@sh scripts/harmless.sh write

harmless-program: prefix
	@cmake -S ctest -B $(CTEST_BUILD) >/dev/null
	@cmake --build $(CTEST_BUILD) --target kdreg_harmless
