# SPDX-License-Identifier: MIT OR Apache-2.0
# The C tests with AddressSanitizer and its leak detector in both the library
# (rustc, nightly only) and the tests ($CC). rustc gives a shared library no
# sanitizer runtime: the tests bring the compiler's.
. "$(dirname "$0")/env.sh"
set -eu

[ -f ctest/CMakeLists.txt ] || skip "there is no ctest/CMakeLists.txt"
export RUSTUP_AUTO_INSTALL=0 # nothing is fetched for this
cargo +nightly --version >/dev/null 2>&1 ||
    skip "rustc's AddressSanitizer needs a nightly toolchain: rustup toolchain install nightly"
work=$target/asan
mkdir -p "$work"
echo 'int main(void) { return 0; }' >"$work/probe.c"
"$CC" -fsanitize=address "$work/probe.c" -o "$work/probe" 2>"$work/probe.log" && "$work/probe" ||
    skip "$CC -fsanitize=address does not work here, see target/asan/probe.log"

triple=$(rustc -vV | sed -n 's/^host: //p')
# With --target, so that build scripts and macros are not instrumented.
RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=address -Cforce-frame-pointers=yes" \
    cargo +nightly rustc --quiet --release --locked -p libkdreg --lib --crate-type cdylib \
    --target "$triple" --target-dir "$work/cargo"

# The installed tree again, with the other shared library in it.
prefix=$work/prefix
PREFIX=$prefix BINDIR= LIBDIR= INCLUDEDIR= DESTDIR= sh scripts/install.sh install
install -m 755 "$work/cargo/$triple/release/libkdreg.so" "$prefix/lib/libkdreg.so.$version"
# No test may link the library that is not instrumented.
rm "$prefix/lib/libkdreg.a"

export PKG_CONFIG_PATH="$prefix/lib/pkgconfig" LD_LIBRARY_PATH="$prefix/lib"
export ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=0:exitcode=99${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
export LSAN_OPTIONS="suppressions=$fixtures/lsan.supp:print_suppressions=0${LSAN_OPTIONS:+:$LSAN_OPTIONS}"
# shellcheck disable=SC2046 # one word per flag
"$CC" -fsanitize=address -g -O1 -o "$work/cycles" "$fixtures/cycles.c" $(pkg-config --cflags --libs kdreg)
timeout 400 "$work/cycles" 200
cmake -S ctest -B "$work/ctest" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DCMAKE_C_FLAGS="-fsanitize=address -fno-omit-frame-pointer" \
    -DCMAKE_CXX_FLAGS="-fsanitize=address -fno-omit-frame-pointer" \
    -DKDREG_SANITIZE=address >"$work/cmake.log" || {
    cat "$work/cmake.log"
    exit 1
}
cmake --build "$work/ctest" --parallel 2 -- --no-print-directory
# Left out: `matrix` tells what the system calls under malloc and free do, which
# the sanitizer keeps back; `lifecycle` measures resident memory, which it keeps
# too (`cycles` above stands in for it); `many` and `signals` expect that nothing
# is ever found invalid without a reason, and an instrumented handler thread can
# be too late for that. All four are part of test-c.
exec ctest --test-dir "$work/ctest" -L library -E '^(matrix|lifecycle|many|signals)$' --output-on-failure --timeout 600 --no-tests=error
