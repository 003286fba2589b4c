# SPDX-License-Identifier: MIT OR Apache-2.0
# Open, use and close under valgrind.
#
# Valgrind runs one thread at a time and keeps the others waiting during munmap,
# while userfaultfd makes munmap wait for another thread: the two cannot work
# together (valgrind answers ENOSYS to begin with). So this is the backend
# `none`; test-asan looks for what the userfaultfd backend leaks.
. "$(dirname "$0")/env.sh"
set -eu

command -v valgrind >/dev/null || skip "valgrind is not installed"
prefix=$target/prefix
# shellcheck disable=SC2046 # one word per flag
"$CC" -g -O1 -Wall -Wextra -o "$target/cycles" "$fixtures/cycles.c" \
    $(PKG_CONFIG_PATH="$prefix/lib/pkgconfig" pkg-config --cflags --libs kdreg)
export LD_LIBRARY_PATH="$prefix/lib"
echo "without valgrind, on the backend that works here:"
timeout 400 "$target/cycles" 200
echo "under valgrind:"
KDREG_BACKEND=none exec timeout 600 valgrind --leak-check=full --track-fds=yes \
    --errors-for-leak-kinds=definite,indirect,possible --error-exitcode=99 \
    --suppressions="$fixtures/valgrind.supp" "$target/cycles" 20
