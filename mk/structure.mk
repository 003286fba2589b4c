# SPDX-License-Identifier: MIT OR Apache-2.0
# How the source is laid out.
#
#   make check-structure        parts depend one way, maps name every file, files are small

STRUCTURE_TOP := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))/..)

STAGES += check-structure

.PHONY: check-structure

check-structure:
	@sh $(STRUCTURE_TOP)/scripts/check-structure.sh
