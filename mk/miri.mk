# SPDX-License-Identifier: MIT OR Apache-2.0
# Miri and mutants.
#
#   make test-miri              unit tests of what is pure, run by Miri, where it is
#                               installed
#   make mutants                cargo-mutants over the cache and the monitor, by the
#                               library's unit tests: hours (docs/mutants.md)
#   ... MUTANTS_SHARD=0/60      one in sixty of them

MUTANTS_SHARD ?= 0/1
STAGES += test-miri

.PHONY: test-miri mutants
test-miri: ## Unit tests of what is pure, run by Miri, where it is installed
	@sh scripts/test-miri.sh

mutants:
	@sh scripts/mutants.sh '$(MUTANTS_SHARD)'
