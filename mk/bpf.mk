# SPDX-License-Identifier: MIT OR Apache-2.0
# kdregd, the daemon of the bpf backend, and its BPF programs.
#
#   make kdregd                 target/dist/kdregd, where clang, libelf and zlib are
#                               installed; else a line that says what is missing

.PHONY: kdregd

kdregd: ## Build kdregd (BPF backend), where there is clang
	@sh scripts/build-kdregd.sh
