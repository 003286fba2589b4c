# SPDX-License-Identifier: MIT OR Apache-2.0
# libfabric and Open MPI in a guest, over soft-RoCE.
#
#   make test-fabric            what docs/fabric.md says of both, and more
#   make test-fabric FABRIC_TESTS='*openmpi* 45-*'    some of ctest/fabric/tests, by patterns
#   make test-fabric LIBFABRIC_SOURCE=<dir>      with a libfabric newer than the distribution's

FABRIC_TESTS ?= *
LIBFABRIC_SOURCE ?=
export FABRIC_TESTS LIBFABRIC_SOURCE
STAGES += test-fabric
SPARE += test-fabric

.PHONY: test-fabric
test-fabric: vm-prerequisites module prefix ## libfabric (both ways) and Open MPI, in a guest
	@bash scripts/test-fabric.sh
