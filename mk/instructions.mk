# SPDX-License-Identifier: MIT OR Apache-2.0
# The instructions of a hit, counted.
#
#   make check-instructions     they are what bench/instructions.txt says
#   make instructions           write that file anew

INSTRUCTIONS_TOP := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))/..)

STAGES += check-instructions

.PHONY: check-instructions instructions

check-instructions:
	@sh $(INSTRUCTIONS_TOP)/scripts/check-instructions.sh check

instructions:
	@sh $(INSTRUCTIONS_TOP)/scripts/check-instructions.sh write
