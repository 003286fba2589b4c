# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: test-rust.sh fmt|clippy|doc|test
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
*)
    die "say fmt, clippy, doc or test, not '$1'"
    ;;
esac
