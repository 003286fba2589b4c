# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: test-arm64.sh all|REGEX
# The library's own C tests, cross-built by build-arm64.sh, in a guest of
# Debian's stock arm64 kernel, where nothing of this project is loaded: as
# ctest -L library runs them on this machine. `all` is all of them, else those
# whose names match. KDREG_TEST_SLOWNESS multiplies the time limits (4).
. "$(dirname "$0")/env.sh"
set -eu

only=${1:?all or REGEX}
[ "$only" != all ] || only=.
build=$target/arm64/library
tests=$build/guest/library
rm -rf "$build"
mkdir -p "$tests"
python3 scripts/ctest-scripts.py --root "$target/arm64/ctest" --label library --into "$tests"

# A test's failure is the summary's to tell.
KDREG_VM_MODULE=none KDREG_TEST_SLOWNESS=${KDREG_TEST_SLOWNESS:-4} KDREG_GUEST_TESTS=$only \
    KDREG_VM_OPTIONS="${KDREG_VM_OPTIONS:-} --arch arm64" \
    ctest/vm/run-group "$tests" --share "$target/arm64" --memory 3072 --hugepages 16 ||
    die "the guest ran no test: see $tests/output.txt"
ctest/vm/summary "$build"
