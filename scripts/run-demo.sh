# SPDX-License-Identifier: MIT OR Apache-2.0
# Builds and runs ctest/demo as a user's program is built: cc and pkg-config.
# Arguments for it: DEMO_ARGS="..." make run
. "$(dirname "$0")/env.sh"
set -eu

echo "building libkdreg (release; the first time takes a minute) ..."
make --no-print-directory prefix
prefix=$target/prefix
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig" LD_LIBRARY_PATH="$prefix/lib"
mkdir -p "$target/demo"
# shellcheck disable=SC2046 # one word per flag
"$CC" -std=gnu11 -O2 -g -Wall -Wextra -pthread -o "$target/demo/transfer" ctest/demo/*.c \
    $(pkg-config --cflags --libs kdreg)
# shellcheck disable=SC2086 # one word per argument
exec "$target/demo/transfer" ${DEMO_ARGS:-}
