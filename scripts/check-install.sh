# SPDX-License-Identifier: MIT OR Apache-2.0
# `make install` and `cargo cinstall` put the same files in the same places;
# programs link and run from both; staging and removal are clean.
. "$(dirname "$0")/env.sh"
set -eu

# The Makefile's would come before the directories asked for here.
unset PKG_CONFIG_PATH

work=$target/check-install
rm -rf "$work"
mkdir -p "$work"
by_make=$work/make
by_cargo=$work/cargo-c
by_cargo_static=$work/cargo-c-static

# installed PREFIX [DESTDIR]: make's install with nothing left to the caller's
# environment.
installed() {
    env -u MAKEFLAGS PREFIX="$1" DESTDIR="${2:-}" BINDIR= LIBDIR="${LIBDIR_HERE:-}" INCLUDEDIR= \
        sh scripts/install.sh install
}
removed() {
    env -u MAKEFLAGS PREFIX="$1" DESTDIR="${2:-}" BINDIR= LIBDIR="${LIBDIR_HERE:-}" INCLUDEDIR= \
        sh scripts/install.sh uninstall
}
cinstall() {
    cargo cinstall --release -p libkdreg --locked --libdir lib "$@"
}

# Every file with its mode, every link with where it points.
listing() {
    (cd "$1" && find . -type f -printf '%m %P\n' -o -type l -printf 'link %P -> %l\n' | sort -k 2)
}

echo "the two ways to install:"
must "make install PREFIX=" installed "$by_make"
must "cargo cinstall --prefix" cinstall --target-dir "$target/cargo-c" --prefix "$by_cargo"
[ $failures -eq 0 ] || finish
# cargo-c installs one library and its files: no program, no second library.
beyond_cargo='^[0-7]* \(bin/kdreg_[a-z]*\|lib/libkdreg-[a-z]*\.so\)$'
listing "$by_make" | grep -v "$beyond_cargo" >"$work/make.list" || true
listing "$by_cargo" >"$work/cargo-c.list"
same "they install the same files, but for programs and preloads" "$work/make.list" "$work/cargo-c.list"
checking "each file of include/, cmake/ and man/ is among them"
sources=$(find include/kdreg.h include/kdreg2.h include/kdreg cmake man -name '*.*' -type f 2>/dev/null | sed 's|.*/||' | sort)
lacking=$(for file in $sources; do grep -q "/$file\$" "$work/make.list" || echo "$file"; done)
if [ -z "$lacking" ]; then pass "$(echo "$sources" | wc -l)"; else fail "$lacking"; fi
must "make install adds kdreg_info, and it runs" env LD_LIBRARY_PATH= "$by_make/bin/kdreg_info"
# Built files cannot be equal to the byte; their shapes are compared below.
checking "the files that are not built are equal"
differing=$(cd "$by_cargo" && find . -type f ! -name 'libkdreg.*' ! -name kdreg.pc | while read -r file; do
    cmp -s "$file" "$by_make/$file" || echo "$file"
done)
if [ -z "$differing" ]; then pass; else fail "$differing"; fi

# shape LIBRARY: what a program can tell one build of the library from another by.
shape() {
    readelf -dW "$1" | grep -E 'NEEDED|SONAME|FLAGS|RPATH|RUNPATH|TEXTREL' | sed 's/^ *0x[0-9a-f]* *//'
    nm -D --with-symbol-versions "$1" | sed 's/^[0-9a-f ]*//' | sort
}
shape "$by_make/lib/libkdreg.so.$version" >"$work/make.shape"
shape "$by_cargo/lib/libkdreg.so.$version" >"$work/cargo-c.shape"
same "shared libraries of one shape: SONAME, versions, needs, flags" "$work/make.shape" "$work/cargo-c.shape"

# rustc's own archive, which cargo cinstall puts there as it is, has more global
# symbols than ours (see localise.sh): the functions must all be among them.
checking "the functions of kdreg.map in both static libraries"
map_symbols | sed 's/@@.*//' >"$work/map"
lacking=$(for each in "$by_make" "$by_cargo"; do
    nm -g --defined-only "$each/lib/libkdreg.a" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort |
        comm -23 "$work/map" - | sed "s|^|$each lacks |"
done)
if [ -z "$lacking" ]; then pass; else fail "$lacking"; fi

# asks PREFIX OPTION...: pkg-config about one installation only.
asks() {
    where=$1
    shift
    PKG_CONFIG_LIBDIR="$where/lib/pkgconfig" pkg-config "$@" kdreg
}

# facts PREFIX: what kdreg.pc says. cargo-c adds -lgcc_s, which a C compiler
# links by itself when it is wanted, and which no static program can have.
facts() {
    for question in --modversion --cflags --libs '--static --libs'; do
        # shellcheck disable=SC2086 # one word per option
        asks "$1" $question | sed "s|$1|PREFIX|g; s/-lgcc_s //; s/ *\$//"
    done
}
facts "$by_make" >"$work/make.pc"
facts "$by_cargo" >"$work/cargo-c.pc"
same "kdreg.pc files of one meaning" "$work/make.pc" "$work/cargo-c.pc"

# runs WHAT PREFIX KIND COMPILER LANGUAGE: builds smoke.c and runs it.
runs() {
    what=$1 where=$2 kind=$3 compiler=$4 language=$5
    program=$work/smoke
    rm -f "$program"
    checking "$what"
    case $kind in
    shared) flags=$(asks "$where" --cflags --libs) ;;
    # The archive, with the C library still shared.
    archive) flags="$(asks "$where" --static --cflags --libs | sed 's/-lkdreg/-l:libkdreg.a/')" ;;
    static) flags="-static $(asks "$where" --static --cflags --libs)" ;;
    esac
    # shellcheck disable=SC2086 # one word per flag
    if ! output=$("$compiler" -Wall -Wextra -Werror -x "$language" "$fixtures/smoke.c" -x none \
        $flags -o "$program" 2>&1); then
        fail "$output"
        return
    fi
    # Only a program with the shared library names it, by its SONAME.
    names=$(readelf -dW "$program" | sed -n 's/.*(NEEDED).*\[\(libkdreg.*\)\]/\1/p')
    case $kind in
    shared) expected=$soname ;;
    *) expected= ;;
    esac
    if [ "$names" != "$expected" ]; then
        fail "the program needs '$names', not '$expected'"
        return
    fi
    if output=$(LD_LIBRARY_PATH="$where/lib" timeout 60 "$program" 2>&1); then
        pass "$output"
    else
        fail "$output"
    fi
}

echo "programs built from each:"
runs "make install, shared, C" "$by_make" shared "$CC" c
runs "make install, shared, C++" "$by_make" shared "$CXX" c++
runs "make install, libkdreg.a and a shared libc" "$by_make" archive "$CC" c
runs "make install, -static" "$by_make" static "$CC" c
runs "cargo cinstall, shared, C" "$by_cargo" shared "$CC" c
runs "cargo cinstall, shared, C++" "$by_cargo" shared "$CXX" c++
runs "cargo cinstall, libkdreg.a and a shared libc" "$by_cargo" archive "$CC" c
# A static program has no libgcc_s, so cargo-c must be told that it is for one.
static_cinstall() {
    # What it is built with besides was seen above: without, it takes a quarter of the time.
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" cinstall --library-type staticlib \
        --target-dir "$target/cargo-c-static" --prefix "$by_cargo_static"
}
must "RUSTFLAGS='-C target-feature=+crt-static' cargo cinstall" static_cinstall
runs "that one, -static" "$by_cargo_static" static "$CC" c

echo "kdreg.pc in other places:"
moved=$work/moved
cp -a "$by_make" "$moved"
checking "it follows when the tree is moved"
flags=$(PKG_CONFIG_LIBDIR="$moved/lib/pkgconfig" pkg-config --define-variable=prefix="$moved" --cflags --libs kdreg)
case $flags in
*"-I$moved/include"*"-L$moved/lib"*) pass ;;
*) fail "$flags" ;;
esac
LIBDIR_HERE=lib/some-triplet
must "make install LIBDIR=$LIBDIR_HERE" installed "$work/libdir"
checking "it names that directory"
flags=$(PKG_CONFIG_LIBDIR="$work/libdir/$LIBDIR_HERE/pkgconfig" pkg-config --libs kdreg)
case $flags in
*"-L$work/libdir/$LIBDIR_HERE "*) pass ;;
*) fail "$flags" ;;
esac
must "make uninstall LIBDIR=$LIBDIR_HERE" removed "$work/libdir"
checking "nothing is left"
left=$(find "$work/libdir" ! -type d)
if [ -z "$left" ]; then pass; else fail "$left"; fi
LIBDIR_HERE=

echo "staging:"
stage=$work/stage
elsewhere=$work/not-there
# Names of all files of the tree, but for those that belong to this check, or
# to the kernel tree, which may be in the making beside it.
tree() {
    find "$root" \( -path "$root/.git" -o -path "$work" -o -path "$target/test" -o -path "$target/kernel" \) \
        -prune -o -print | sort
}
tree >"$work/tree.before"
must "make install DESTDIR=" installed "$elsewhere" "$stage"
tree >"$work/tree.after"
checking "nothing is put outside DESTDIR"
if [ -e "$elsewhere" ]; then
    fail "$(find "$elsewhere")"
elif output=$(diff "$work/tree.before" "$work/tree.after"); then
    pass
else
    fail "$output"
fi
listing "$by_make" >"$work/unstaged.list"
listing "$stage$elsewhere" >"$work/staged.list"
same "the staged tree is the installed one" "$work/unstaged.list" "$work/staged.list"
checking "kdreg.pc names the prefix, not the stage"
if grep -q "^prefix=$elsewhere\$" "$stage$elsewhere/lib/pkgconfig/kdreg.pc" &&
    ! grep -q "$stage" "$stage$elsewhere/lib/pkgconfig/kdreg.pc"; then
    pass
else
    fail "$(cat "$stage$elsewhere/lib/pkgconfig/kdreg.pc")"
fi
must "make uninstall DESTDIR=" removed "$elsewhere" "$stage"
must "make uninstall" removed "$by_make"
checking "nothing is left of either"
left=$(find "$stage" "$by_make" ! -type d)
if [ -z "$left" ]; then pass; else fail "$left"; fi

checking "a relative PREFIX is refused"
if output=$(installed some/where 2>&1); then fail "it was taken"; else pass "$output"; fi
finish
