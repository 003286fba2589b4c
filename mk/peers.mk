# SPDX-License-Identifier: MIT OR Apache-2.0
# Other people's programs and test-suites under the preloads, in a guest.
#
#   make test-peers             rdma-core's Python tests, UCX, NetPIPE over
#                               Open MPI and MPICH, perftest
#   make test-peers-part        of each a part, which is one of `make test`
#   make test-peers PEERS_TESTS='*ucx* 40-*'   some of them, by patterns
#   make test-peers LIBFABRIC_SOURCE=<dir> and what a libfabric newer than the distribution's
#                               does by itself, and its fi_mr_cache_evict

PEERS_TESTS ?= *
# rdma-core's modules to run; all when empty.
PEERS_PYTHON ?=
# ucx_perftest's tests; tag_bw, ucp_get and stream_bw when empty.
PEERS_UCX ?=
# The MPI libraries NetPIPE runs over; openmpi-ofi, openmpi-ucx and mpich when empty.
PEERS_MPI ?=
export PEERS_TESTS PEERS_PYTHON PEERS_UCX PEERS_MPI
STAGES += test-peers-part
SPARE += test-peers-part

.PHONY: test-peers test-peers-part
test-peers-part: PEERS_PYTHON = test_mr test_odp test_qp test_parent_domain test_relaxed_ordering test_shared_pd
test-peers-part: PEERS_UCX = tag_bw
test-peers-part: PEERS_MPI = mpich
test-peers-part: vm-prerequisites module prefix ## Of other people's suites the part that is about registrations, in a guest
	@bash scripts/test-peers.sh

test-peers: vm-prerequisites module prefix ## Other people's suites under the preloads, in a guest
	@bash scripts/test-peers.sh
