# SPDX-License-Identifier: MIT OR Apache-2.0
# Prints what is missing to build kdregd with, if anything is: one line.
. "$(dirname "$0")/env.sh"

lacks=
lack() { lacks="${lacks:+$lacks, }$1"; }

echo 'int word;' | ${CLANG:-clang} -target bpf -mcpu=v3 -x c -c - -o /dev/null 2>/dev/null ||
    lack "clang that compiles for BPF (Debian: clang)"
has_header() { echo "#include <$1>" | $CC -E - >/dev/null 2>&1; }
has_header libelf.h || lack "libelf (Debian: libelf-dev)"
has_header zlib.h || lack "zlib (Debian: zlib1g-dev)"
[ -z "$lacks" ] || echo "$lacks"
