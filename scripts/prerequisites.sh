# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: prerequisites.sh run|test
# Finds out what is missing; installs it where that is possible (apt, as root),
# and says what to install where not.
. "$(dirname "$0")/env.sh"
set -eu

packages=
# need PACKAGE COMMAND...: the package is missing when the command fails.
need() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || packages="$packages $package"
}
has() {
    command -v "$1"
}
compiles() {
    echo 'int main(void) { return 0; }' | "$2" -x "$1" -o /dev/null -
}

missing() {
    packages=
    need gcc compiles c "$CC"
    need libc6-dev sh -c "echo '#include <stdio.h>' | $CC -E -"
    need pkg-config has pkg-config
    # Linking a static library and reading what is in a shared one.
    need binutils has ld
    need binutils has objcopy
    need binutils has readelf
    if [ "$1" = test ]; then
        need g++ compiles c++ "$CXX"
        need cmake has ctest
        need valgrind has valgrind
        # Where apt is, there are Debian's tools for packages; mk/packages.mk.
        if command -v apt-get >/dev/null; then
            need dpkg-dev has dpkg-buildpackage
            need debhelper has dh
            need dh-dkms has dh_dkms
            need lintian has lintian
            need abigail-tools has abidw
            need rpm has rpmbuild
            need rpmlint has rpmlint
            need meson has meson
            # Runtimes to be tested with; mk/runtimes.mk.
            need python3 has python3
            need default-jdk-headless has javac
            need golang-go has go
        fi
        need libibverbs-dev sh -c "echo '#include <infiniband/verbs.h>' | $CC -E -"
        # The manual pages, and the pictures of docs/.
        need mandoc has mandoc
        need graphviz has dot
        # cargo-c is built from source when it is not there, and links openssl.
        cargo cbuild --version >/dev/null 2>&1 || need libssl-dev pkg-config --exists openssl
    fi
    packages=$(for package in $packages; do echo "$package"; done | sort -u | tr "\n" " ")
}

# optional LIBRARY PACKAGE...: what a test is skipped without. Releases differ in
# how they call it, and not all have it.
optional() {
    library=$1
    shift
    ! /sbin/ldconfig -p | grep -qF "$library" || return 0
    for package; do
        ! apt-get install -y -o DPkg::Lock::Timeout=300 --no-install-recommends "$package" >>"$target/apt.log" 2>&1 || return 0
    done
}

# wish PACKAGE COMMAND...: what a part of the product is left out without, which
# then says so: installed where that is possible, and not insisted on.
wish() {
    package=$1
    shift
    ! "$@" >/dev/null 2>&1 || return 0
    apt-get install -y -o DPkg::Lock::Timeout=300 --no-install-recommends "$package" >>"$target/apt.log" 2>&1 ||
        echo "$package is not to be had: what needs it is left out"
}

if ! command -v cargo >/dev/null; then
    die "cargo is missing: install Rust 1.85 or newer (rustup) and put cargo on the PATH"
fi
missing "$1"
if [ -n "$packages" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing ${packages}by apt (its words are in target/apt.log) ..."
        mkdir -p "$target"
        export DEBIAN_FRONTEND=noninteractive
        # shellcheck disable=SC2086 # one word per package
        { apt-get update && apt-get install -y -o DPkg::Lock::Timeout=300 --no-install-recommends $packages; } \
            >"$target/apt.log" 2>&1 || tail -n 20 "$target/apt.log"
        missing "$1"
    fi
    [ -z "$packages" ] || die "please install: $packages(Debian's names), then run make again"
fi
if [ "$1" = test ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    mkdir -p "$target"
    export DEBIAN_FRONTEND=noninteractive
    # Allocators to be tested with; ctest/allocators.
    optional libjemalloc.so.2 libjemalloc2
    optional libmimalloc.so libmimalloc2.0 libmimalloc3
    optional libtcmalloc_minimal.so.4 libtcmalloc-minimal4 libtcmalloc-minimal4t64
    # kdregd, the daemon of the bpf backend; mk/bpf.mk.
    wish clang has clang
    wish libelf-dev sh -c "echo '#include <libelf.h>' | $CC -E -"
    wish zlib1g-dev sh -c "echo '#include <zlib.h>' | $CC -E -"
    wish bpftool has bpftool
fi
echo "everything that 'make $1' needs is here: $(cargo --version), $("$CC" --version | head -n 1)"
