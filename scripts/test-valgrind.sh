# SPDX-License-Identifier: MIT OR Apache-2.0
# Open, use and close under valgrind.
#
# Valgrind runs one thread at a time and holds its lock across munmap, while
# userfaultfd makes munmap wait for another thread: the two cannot work
# together. So this is the backend `none`; what the userfaultfd backend
# allocates is seen by the leak detector of test-asan.
. "$(dirname "$0")/env.sh"
set -eu

program=$target/ctest/lifecycle
[ -d "$target/ctest" ] || skip "there are no C tests"
[ -x "$program" ] || program=$(find "$target/ctest" -type f -name lifecycle -perm -u+x | head -n 1)
[ -n "$program" ] || skip "there is no C test 'lifecycle'"
command -v valgrind >/dev/null || skip "valgrind is not installed"

export LD_LIBRARY_PATH="$target/prefix/lib" KDREG_BACKEND=none
exec timeout 600 valgrind --leak-check=full --show-leak-kinds=all \
    --errors-for-leak-kinds=definite,indirect,possible --track-fds=no \
    --error-exitcode=99 "$program" --cycles "${KDREG_VALGRIND_CYCLES:-50}"
