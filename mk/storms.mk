# SPDX-License-Identifier: MIT OR Apache-2.0
# The long storms. The short ones are part of make test.
#
#   make storms                 ten minutes per backend: userfaultfd strict,
#                               userfaultfd relaxed, and kernel in the guest
#   ... STORM_SECONDS=<n>       so long each instead
#   ... STORMS="kernel"         these backends only: userfaultfd-strict,
#                               userfaultfd-relaxed, kernel

STORM_SECONDS ?= 600
STORMS ?= userfaultfd-strict userfaultfd-relaxed kernel

.PHONY: storms
storms: prefix storm-program $(if $(filter kernel,$(STORMS)),vm-prerequisites module)
	@sh scripts/storms.sh $(STORM_SECONDS) $(STORMS)

.PHONY: storm-program
storm-program: prefix
	@cmake -S ctest -B $(CTEST_BUILD) >/dev/null
	@cmake --build $(CTEST_BUILD) --target storm
