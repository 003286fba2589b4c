# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: test-c.sh [build]
# The C tests against the library in target/prefix, found through pkg-config as
# anybody's program finds it.
. "$(dirname "$0")/env.sh"
set -eu

[ -f ctest/CMakeLists.txt ] || skip "there is no ctest/CMakeLists.txt"
prefix=$target/prefix
# For what the tests start that was not linked by cmake with a search path.
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig" LD_LIBRARY_PATH="$prefix/lib"
cmake -S ctest -B "$target/ctest" -DCMAKE_BUILD_TYPE=RelWithDebInfo >"$target/ctest.cmake.log" || {
    cat "$target/ctest.cmake.log"
    exit 1
}
cmake --build "$target/ctest" --parallel 2 -- --no-print-directory
[ "${1:-}" != build ] || exit 0
# One more than there are processors: the tests wait more than they compute, and
# what must have the machine for itself says so (RUN_SERIAL).
exec ctest --test-dir "$target/ctest" -L library --parallel $(($(nproc) + 1)) --output-on-failure --timeout 300 --no-tests=error
