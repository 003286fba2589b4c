# SPDX-License-Identifier: MIT OR Apache-2.0
# Other people's programs and test-suites under the preloads, in a guest.
#
#   make test-peers             all of it: rdma-core's Python tests, UCX, NetPIPE
#                               over Open MPI and MPICH, perftest
#   make test-peers PEERS_TESTS='*ucx*'    some of ctest/peers/tests
#   make test-peers LIBFABRIC_SOURCE=<dir> and what a libfabric newer than the distribution's
#                               does by itself, and its fi_mr_cache_evict
#   make test-peers-short       what make test runs of it

PEERS_TESTS ?= *
# rdma-core's modules to run; all when empty.
PEERS_PYTHON ?=
# ucx_perftest's tests; tag_bw, ucp_get and stream_bw when empty.
PEERS_UCX ?=
export PEERS_TESTS PEERS_PYTHON PEERS_UCX
STAGES += test-peers-short

.PHONY: test-peers test-peers-short
test-peers: vm-prerequisites module prefix ## Other people's suites under the preloads, in a guest (long)
	@bash scripts/test-peers.sh
	@$(if $(LIBFABRIC_SOURCE),FABRIC_TESTS='[45]5-*' bash scripts/test-fabric.sh)

test-peers-short: vm-prerequisites module prefix ## The part of it that takes some minutes
	@PEERS_TESTS='[12]0-*' PEERS_PYTHON='test_mr test_qp test_cq test_rdmacm' PEERS_UCX=tag_bw bash scripts/test-peers.sh
