# SPDX-License-Identifier: MIT OR Apache-2.0
# Builds libkdreg.so, libkdreg.a and kdreg_info for installation, into target/dist.
. "$(dirname "$0")/env.sh"
set -eu

if ! command -v cargo >/dev/null; then
    # `sudo make install` after `make` finds no cargo: install what is there.
    if [ -f "$dist/libkdreg.so" ] && [ -f "$dist/libkdreg.a" ] && [ -f "$dist/kdreg_info" ]; then
        echo "cargo is not on the PATH: taking the library that was built before"
        exit 0
    fi
    die "cargo is not on the PATH; install Rust 1.85 or newer (rustup) and try again"
fi

# A target directory of its own: built without the rlib, the library can have
# link-time optimization, as cargo-c gives it, and an ordinary `cargo build`
# would write its own libkdreg.so over this one.
lib=$target/clib/release
cargo rustc --quiet --release -p libkdreg --lib --target-dir "$target/clib" \
    --crate-type cdylib,staticlib
cargo build --quiet --release -p kdreg-info
cargo build --quiet --release -p kdreg-verbs
cargo build --quiet --release -p kdreg-fabric

mkdir -p "$dist"
sh "$root/scripts/localise.sh" "$lib/libkdreg.a" "$dist/libkdreg.a"
cp -p "$lib/libkdreg.so" "$target/release/kdreg_info" "$dist/"
cp -p "$target/release/libkdreg_verbs.so" "$dist/libkdreg-verbs.so"
sh "$root/scripts/build-tools.sh"
cp -p "$target/release/libkdreg_fabric.so" "$dist/libkdreg-fabric.so"
