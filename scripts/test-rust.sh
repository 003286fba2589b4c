# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: test-rust.sh fmt|clippy|doc|test|loom
. "$(dirname "$0")/env.sh"
set -eu

case $1 in
fmt)
    exec cargo fmt --all --check
    ;;
clippy)
    exec cargo clippy --workspace --all-targets --locked -- -D warnings
    ;;
doc)
    RUSTDOCFLAGS="${RUSTDOCFLAGS:-} -D warnings" exec cargo doc --workspace --no-deps --locked
    ;;
test)
    exec cargo test --workspace --locked
    ;;
loom)
    grep -rqs 'cfg(.*loom' libkdreg/src libkdreg/tests || skip "there are no loom models"
    # A directory of its own: --cfg loom changes every crate, and switching
    # between the two would build everything each time. Optimized, as a model
    # runs its threads in every order.
    RUSTFLAGS="${RUSTFLAGS:-} --cfg loom" exec cargo test -p libkdreg --release --locked \
        --target-dir "$target/loom" --tests loom
    ;;
*)
    die "say fmt, clippy, doc, test or loom, not '$1'"
    ;;
esac
