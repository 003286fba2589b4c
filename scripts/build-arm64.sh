# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: build-arm64.sh
# libkdreg for arm64 into target/arm64/prefix, and the C tests against it into
# target/arm64/ctest. All is built in a tree of Debian's packages that has the
# compilers: kernel/tree/make-arm64-programs.
. "$(dirname "$0")/env.sh"
set -eu

work=$target/arm64
if [ "${1:-}" != inside ]; then
    trees=${KERNEL_TREE_DIR:-$target/kernel}
    cargo=${CARGO_HOME:-$HOME/.cargo}
    kernel/tree/make-arm64-programs
    # The tree's cargo works with what this one has fetched.
    cargo fetch --quiet --locked
    KERNEL_TREE_DIR=$trees/arm64/programs exec kernel/tree/enter --bind "$cargo/registry" -- \
        env CARGO_HOME="$cargo" sh "$root/scripts/build-arm64.sh" inside
fi

machine=aarch64-unknown-linux-gnu
mkdir -p "$work/dist"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc-14
build() {
    cargo "$@" --quiet --release --offline --locked --target $machine --target-dir "$work/cargo"
}
# As build-library.sh does it.
cargo rustc --quiet --release --offline --locked --target $machine --target-dir "$work/clib" \
    -p libkdreg --lib --crate-type cdylib,staticlib
build build -p kdreg-info
build build -p kdreg-verbs
build build -p kdreg-fabric
LD=aarch64-linux-gnu-ld OBJCOPY=aarch64-linux-gnu-objcopy AR=aarch64-linux-gnu-ar \
    sh scripts/localise.sh "$work/clib/$machine/release/libkdreg.a" "$work/dist/libkdreg.a"
cp -p "$work/clib/$machine/release/libkdreg.so" "$work/cargo/$machine/release/kdreg_info" "$work/dist/"
cp -p "$work/cargo/$machine/release/libkdreg_verbs.so" "$work/dist/libkdreg-verbs.so"
cp -p "$work/cargo/$machine/release/libkdreg_fabric.so" "$work/dist/libkdreg-fabric.so"
KDREG_DIST=$work/dist CC=aarch64-linux-gnu-gcc-14 sh scripts/build-tools.sh
KDREG_DIST=$work/dist PREFIX=$work/prefix LIBDIR= INCLUDEDIR= BINDIR= DESTDIR= sh scripts/install.sh install >/dev/null

export PKG_CONFIG_PATH="$work/prefix/lib/pkgconfig"
cmake -S ctest -B "$work/ctest" -DCMAKE_TOOLCHAIN_FILE="$root/ctest/vm/arm64.cmake" \
    -DCMAKE_BUILD_TYPE=RelWithDebInfo >"$work/cmake.log" || { cat "$work/cmake.log"; exit 1; }
cmake --build "$work/ctest" --parallel 2 -- --no-print-directory
