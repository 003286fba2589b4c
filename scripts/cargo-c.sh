# SPDX-License-Identifier: MIT OR Apache-2.0
# Makes `cargo cbuild` and `cargo cinstall` available: installs cargo-c into
# target/tools when the machine has none.
. "$(dirname "$0")/env.sh"
set -eu

# One at a time: `make test` begins this ahead.
mkdir -p "$target/tools"
exec 9>"$target/tools/cargo-c.lock"
flock 9
if cargo cbuild --version >/dev/null 2>&1; then
    exit 0
fi
[ -n "${CARGO_C_VERSION:-}" ] || die "run this as 'make cargo-c'"
echo "installing cargo-c $CARGO_C_VERSION into target/tools (some minutes, once) ..."
# Its dependencies are many: unoptimized and without debug information, they
# build in half the time.
CARGO_PROFILE_DEV_DEBUG=false cargo install cargo-c --version "=$CARGO_C_VERSION" --locked --debug \
    --root "$target/tools" --target-dir "$target/cargo-c-build"
rm -rf "$target/cargo-c-build"
