# SPDX-License-Identifier: MIT OR Apache-2.0
# An installed library is found and linked by CMake (package and pkg-config)
# and meson, whichever LIBDIR it has, and after its tree has been moved.
. "$(dirname "$0")/env.sh"
set -eu
unset PKG_CONFIG_PATH LD_LIBRARY_PATH CMAKE_PREFIX_PATH

work=$target/check-consumers
rm -rf "$work"
mkdir -p "$work"

installed() {
    env -u MAKEFLAGS PREFIX="$1" LIBDIR="$2" DESTDIR= BINDIR= INCLUDEDIR= MANDIR= sh scripts/install.sh install
}

# runs PROGRAM KIND LIBDIR: it runs, and needs the shared library or not.
runs() {
    checking "${1##*/}: runs, ${2} library"
    needs=$(readelf -dW "$1" | sed -n 's/.*(NEEDED).*\[\(libkdreg.*\)\]/\1/p')
    case $2 in shared) expected=$soname ;; *) expected= ;; esac
    if [ "$needs" != "$expected" ]; then
        fail "it needs '$needs', not '$expected'"
    elif output=$(LD_LIBRARY_PATH="$3" timeout 60 "$1" 2>&1); then
        pass
    else
        fail "$output"
    fi
}

# by_cmake WHERE LIBDIR BUILD
by_cmake() {
    must "cmake finds kdreg and builds with it" sh -ec 'PKG_CONFIG_LIBDIR=$2/pkgconfig cmake \
        -S "$4/consumers" -B "$3" -DCMAKE_PREFIX_PATH="$1" && cmake --build "$3"' \
        sh "$1" "$2" "$3" "$fixtures"
    [ -x "$3/pkgconfig-shared" ] || return 0
    runs "$3/package-shared" shared "$2"
    runs "$3/package-static" static "$2"
    runs "$3/pkgconfig-shared" shared "$2"
    checking "the package is the one installed there"
    place=$(sed -n 's/^kdreg_DIR:PATH=//p' "$3/CMakeCache.txt")
    if [ "$place" = "$2/cmake/kdreg" ]; then pass; else fail "it is in $place"; fi
}

triplet=$("$CC" -dumpmachine)
echo "installed into <prefix>/lib:"
must "make install" installed "$work/plain" lib
by_cmake "$work/plain" "$work/plain/lib" "$work/cmake-plain"
echo "installed into <prefix>/lib/$triplet, and moved:"
must "make install LIBDIR=" installed "$work/first" "lib/$triplet"
mv "$work/first" "$work/second"
# kdreg.pc follows when it is told the new prefix; CMake's file needs nothing.
sed -i "s|^prefix=.*|prefix=$work/second|" "$work/second/lib/$triplet/pkgconfig/kdreg.pc"
by_cmake "$work/second" "$work/second/lib/$triplet" "$work/cmake-moved"

echo "versions, as find_package compares them:"
# wants ANSWER VERSION...: whether such a request is met.
wants() {
    checking "find_package(kdreg $2): $1"
    mkdir -p "$work/wants"
    printf 'cmake_minimum_required(VERSION 3.20)\nproject(wants C)\nfind_package(kdreg %s QUIET)\nif(kdreg_FOUND)\n  message(STATUS "it is met")\nendif()\n' \
        "$2" >"$work/wants/CMakeLists.txt"
    rm -rf "$work/wants/build"
    output=$(cmake -S "$work/wants" -B "$work/wants/build" -DCMAKE_PREFIX_PATH="$work/plain" 2>&1) || true
    case $output in *"it is met"*) answer=met ;; *) answer="not met" ;; esac
    if [ "$answer" = "$1" ]; then pass; else fail "$output"; fi
}
wants met "$version EXACT"
wants met "${version%.*}"
wants met "0.0...<1"
wants "not met" "${version%.*}.99"
wants "not met" "1"

echo "meson:"
if command -v meson >/dev/null && command -v ninja >/dev/null; then
    must "meson finds kdreg and builds with it" env PKG_CONFIG_PATH="$work/plain/lib/pkgconfig" sh -ec \
        'mkdir -p "$1" && cp -r "$2" "$1/" && meson setup "$1/build" "$1/fixtures/consumers" && meson compile -C "$1/build"' \
        sh "$work/meson" "$fixtures"
    if [ -x "$work/meson/build/static-by-meson" ]; then
        runs "$work/meson/build/shared-by-meson" shared "$work/plain/lib"
        runs "$work/meson/build/static-by-meson" static "$work/plain/lib"
    fi
else
    echo "  meson is not installed: not tried"
fi
finish
