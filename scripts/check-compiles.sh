# SPDX-License-Identifier: MIT OR Apache-2.0
# The header, alone and twice, in every C and C++ that its users have.
. "$(dirname "$0")/env.sh"
set -eu

work=$(mktemp -d "$target/compiles.XXXXXX")
trap 'rm -rf "$work"' EXIT
strict="-Wall -Wextra -Wpedantic -Wconversion -Werror -Iinclude"

# Alone: the header brings what it needs. Twice: it is guarded. The call makes
# the compiler look at the inline function as code, not only as text. A constant
# has the width of what it is compared with, or ~ and << go wrong.
cat >"$work/alone.c" <<'C'
#include <kdreg.h>
#include <kdreg.h>
bool still_there(const struct kdreg_region *region);
bool still_there(const struct kdreg_region *region) { return kdreg_valid(region); }
typedef char capabilities_have_64_bits[sizeof(KDREG_CAP_UNMAP) == 8 ? 1 : -1];
typedef char access_is_unsigned[KDREG_ACCESS_READ - 2 > 0 ? 1 : -1];
C
cp "$work/alone.c" "$work/alone.cc"
cp "$fixtures/smoke.c" "$work/smoke.c"
cp "$fixtures/smoke.c" "$work/smoke.cc"

# compiles COMPILER SUFFIX STANDARD...
compiles() {
    compiler=$1
    suffix=$2
    shift 2
    if ! command -v "$compiler" >/dev/null; then
        echo "  note: no $compiler on this machine"
        return
    fi
    for standard; do
        # shellcheck disable=SC2086 # one word per flag
        must "$compiler -std=$standard" "$compiler" -std="$standard" $strict \
            -fsyntax-only "$work/alone.$suffix" "$work/smoke.$suffix"
    done
}

# -Wshadow for C only: g++ has it that a function named like a structure, as in
# stat() and struct stat, hides the constructor.
strict="$strict -Wshadow"
compiles "$CC" c c99 c11 c17
compiles clang c c99 c11 c17
strict=${strict% -Wshadow}
compiles "$CXX" cc c++11 c++14 c++17 c++20
compiles clang++ cc c++11 c++14 c++17 c++20
finish
