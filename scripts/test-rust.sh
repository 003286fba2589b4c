# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: test-rust.sh fmt|clippy|doc|test
. "$(dirname "$0")/env.sh"
set -eu
without_ours

# kdregd is for machines that can build it.
workspace=--workspace
lacks=$(sh "$root/scripts/kdregd-lacks.sh")
if [ -n "$lacks" ] && [ "$1" != fmt ]; then
    echo "without kdregd; missing: $lacks"
    workspace="--workspace --exclude kdregd"
fi

case $1 in
fmt)
    exec cargo fmt --all --check
    ;;
clippy)
    exec cargo clippy $workspace --all-targets --locked -- -D warnings
    ;;
doc)
    RUSTDOCFLAGS="${RUSTDOCFLAGS:-} -D warnings" exec cargo doc $workspace --no-deps --locked
    ;;
test)
    exec cargo test $workspace --locked
    ;;
*)
    die "say fmt, clippy, doc or test, not '$1'"
    ;;
esac
