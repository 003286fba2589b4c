# SPDX-License-Identifier: MIT OR Apache-2.0
# The benchmark.
#
#   make bench                  everything, 4 minutes or so: target/bench/bench.{html,csv,md}
#   make bench-docs             the same, and its tables into docs/
#   make bench BENCH=quick      small sizes, few rounds
#   make bench BENCH="quick hit --subject UCX"   words and options of kdreg-bench --help
#   make bench-vm               with the module and soft-RoCE, in a guest that counts instructions
#   make bench-docs-vm          the same, and its tables into docs/
#   make bench-micro            criterion's micro-benchmarks of the Rust API
#   make bench-valid            what a C compiler makes of kdreg_valid()
#   make bench-smoke            does every scenario run and every report come out? (part of make test)

BENCH ?= full
STAGES += bench-smoke

.PHONY: bench bench-docs bench-vm bench-docs-vm bench-micro bench-valid bench-smoke

bench: prefix
	@sh scripts/bench.sh run $(BENCH)

bench-smoke: prefix
	@sh scripts/bench.sh smoke

bench-docs: prefix
	@sh scripts/bench.sh docs

bench-valid:
	@sh scripts/bench-valid.sh

bench-micro:
	@sh scripts/bench.sh micro

bench-vm: vm-prerequisites module prefix
	@sh scripts/bench.sh vm

bench-docs-vm: vm-prerequisites module prefix
	@sh scripts/bench.sh docs-vm
