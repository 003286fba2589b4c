# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: test-arm64.sh all|REGEX
# The library's own C tests, cross-built by build-arm64.sh, in a guest of
# Debian's stock arm64 kernel, where nothing of this project is loaded: as
# ctest -L library runs them on this machine. Prints what ran, with the reason
# for each that did not; `all` is all of them, else those whose names match.
# KDREG_TEST_SLOWNESS multiplies the time limits (4).
. "$(dirname "$0")/env.sh"
set -eu

only=${1:?all or REGEX}
[ "$only" != all ] || only=.
build=$target/arm64/ctest
tests=$target/arm64/library
rm -rf "$tests"
mkdir -p "$tests"
python3 scripts/ctest-scripts.py --root "$build" --label library --into "$tests"

status=0
KDREG_VM_MODULE=none KDREG_TEST_SLOWNESS=${KDREG_TEST_SLOWNESS:-4} KDREG_GUEST_TESTS=$only \
    KDREG_VM_OPTIONS="${KDREG_VM_OPTIONS:-} --arch arm64" \
    ctest/vm/run-group "$tests" --share "$target/arm64" --memory 3072 --hugepages 16 || status=$?
verdict=$(cat "$tests/verdict.txt" 2>/dev/null || echo 1)

[ -s "$tests/results.txt" ] || die "the guest ran no test: see $tests/output.txt"
kernel=$(sed -n 's/^.*Linux version \([^ ]*\).*/\1/p' "$tests/console.txt" | head -n 1)
echo "=== the library's tests on Linux ${kernel:-(unknown)}"
passed=0 failed=0 skipped=0
while read -r name result seconds; do
    case $result in
    ok) passed=$((passed + 1)) ;;
    skipped) skipped=$((skipped + 1)) ;;
    *) failed=$((failed + 1)) ;;
    esac
    [ "$result" = ok ] || printf '  %-28s %-8s %s s: %s\n' "$name" "$result" "$seconds" "$(tail -n 1 "$tests/$name.log" 2>/dev/null)"
done <"$tests/results.txt"
echo "$passed passed, $skipped skipped, $failed failed; logs are in $tests"
[ "$failed" = 0 ] || status=1
[ "$verdict" = 0 ] || status=1
exit $status
