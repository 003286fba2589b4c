# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: header.sh write|check
# The generator is a test of the crate, so that Cargo.lock says which cbindgen.
. "$(dirname "$0")/env.sh"
set -eu

case $1 in
write) KDREG_WRITE_HEADER=1 exec cargo test --quiet -p libkdreg --test header -- is_current ;;
check) exec cargo test --quiet -p libkdreg --test header ;;
*) die "say write or check, not '$1'" ;;
esac
