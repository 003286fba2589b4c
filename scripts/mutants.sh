# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: mutants.sh SHARD
# Changes the cache, the monitor and the interval tree in one small way after the
# other, and asks the library's unit tests whether they notice. What they do not notice is listed in
# target/mutants.out/missed.txt; docs/mutants.md says what is known of that.
# Not those of Debug and the dump's words, and not the reference counts and guards,
# which loom and tests/weak_memory are for.
. "$(dirname "$0")/env.sh"
set -eu

cargo mutants --version >/dev/null 2>&1 || die "cargo-mutants is not installed: cargo install --locked cargo-mutants"
unset CARGO_TARGET_DIR
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0
exec cargo mutants --package libkdreg --file 'libkdreg/src/cache/**' --file 'libkdreg/src/monitor/**' \
    --file 'libkdreg/src/interval_tree.rs' --file 'libkdreg/src/interval_tree/path.rs' \
    --exclude 'libkdreg/src/cache/refs/**' --exclude 'libkdreg/src/monitor/guard.rs' --exclude 'libkdreg/src/cache/dump.rs' \
    --shard "$1" --sharding round-robin --jobs 1 --timeout 240 --cargo-arg=--lib --output "$target"
