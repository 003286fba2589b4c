# SPDX-License-Identifier: MIT OR Apache-2.0
# Builds kdregd and the BPF programs in it, into target/dist, where this machine
# has what that takes.
. "$(dirname "$0")/env.sh"
set -eu

lacks=$(sh "$root/scripts/kdregd-lacks.sh")
if [ -n "$lacks" ]; then
    # Not one of another day either.
    rm -f "$dist/kdregd"
    echo "kdregd is left out, and with it the bpf backend's other half; missing: $lacks"
    exit 0
fi
without_ours
cargo build --quiet --release -p kdregd --locked
mkdir -p "$dist"
cp -p "$target/release/kdregd" "$dist/"
