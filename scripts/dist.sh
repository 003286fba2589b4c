# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: dist.sh [OUT.tar.gz]
# The source archive of the commit that is checked out: what git has of it, and
# in vendor/ the crates that the library and the programs are built from, so
# that nothing is fetched to build them. The same commit gives the same bytes.
# Beside it: recipes for Spack and EasyBuild that name it, with its checksum.
. "$(dirname "$0")/env.sh"
set -eu

git rev-parse --git-dir >/dev/null 2>&1 || die "this is no git checkout"
name=libkdreg-$version
out=${1:-$target/dist-archive/$name.tar.gz}
if [ -n "$(git status --porcelain --untracked-files=no)" ]; then
    echo "note: what is not committed is not in the archive"
fi
mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$target/dist-archive.XXXXXX")
trap 'rm -rf "$work"' EXIT
umask 022

git archive --prefix="$name/" HEAD | tar -x -C "$work"
cd "$work/$name"

# What is built from: for each machine, of every member but the benchmark.
for machine in x86_64 aarch64; do
    cargo tree --quiet --locked --workspace --exclude kdreg-bench --edges normal,build \
        --target $machine-unknown-linux-gnu --prefix none --format '{p}'
done | sed -n 's/^\([^ ]*\) v\([^ ]*\).*/\1-\2/p' | sort -u >"$work/wanted"
cargo vendor --quiet --locked --versioned-dirs vendor >/dev/null
# cargo wants to read the manifest of each crate in Cargo.lock, but not its
# sources where nothing is built from them.
for crate in vendor/*; do
    grep -qxF "${crate##*/}" "$work/wanted" && continue
    checksum=$(sed -n 's/.*"package":"\([0-9a-f]*\)".*/\1/p' "$crate/.cargo-checksum.json")
    mv "$crate/Cargo.toml" "$work/manifest"
    rm -rf "$crate"
    mkdir "$crate"
    # Targets have files; in their place there is a library, which is empty.
    awk '/^\[/ { target = /^\[(lib|\[(bin|test|bench|example)\])\]/ } !target && !/^(build|links|readme) = /' \
        "$work/manifest" >"$crate/Cargo.toml"
    printf '\n[lib]\npath = "lib.rs"\n' >>"$crate/Cargo.toml"
    : >"$crate/lib.rs"
    printf '{"files":{},"package":"%s"}' "$checksum" >"$crate/.cargo-checksum.json"
done
mkdir -p .cargo
cat >.cargo/config.toml <<'C'
# The crates that the library and the programs are built from are in vendor/; of
# those that only tests and the benchmark need, the manifests are: to build
# them, take this file away.
[source.crates-io]
replace-with = "vendor"

[source.vendor]
directory = "vendor"

[net]
offline = true
C

cd "$work"
LC_ALL=C tar --sort=name --format=gnu --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw,a-s \
    --mtime="@$(git -C "$root" log -1 --format=%ct)" -cf - "$name" | gzip -9n >"$out.new"
mv "$out.new" "$out"

# Recipes that name it: with its checksum they cannot be in it. EasyBuild's is
# called by what it is of.
beside=$(dirname "$out")
checksum=$(sha256sum "$out" | cut -d' ' -f1)
# fill SOURCE OUT
fill() {
    mkdir -p "$(dirname "$beside/$2")"
    sed "s/@VERSION@/$version/g; s/@SHA256@/$checksum/g" "$root/packaging/$1" >"$beside/$2"
}
fill spack/package.py spack/packages/libkdreg/package.py
fill easybuild/libkdreg.eb "easybuild/libkdreg-$version-GCCcore-14.2.0.eb"
echo "$out: $(wc -c <"$out") bytes, sha256 $checksum"
