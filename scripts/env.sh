# SPDX-License-Identifier: MIT OR Apache-2.0
# Read by the other scripts with `.`: where things are, and how checks report.

root=$(cd "$(dirname "$0")/.." && pwd)
target=$root/target
dist=${KDREG_DIST:-$target/dist}
fixtures=$root/scripts/fixtures
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
soname=libkdreg.so.${version%%.*}
CC=${CC:-cc}
CXX=${CXX:-c++}
export CARGO_TARGET_DIR="$target"
PATH=$target/tools/bin:$PATH
# Tools speak English, so that what they say can be read by a script.
export LC_ALL=C PATH
cd "$root"

failures=0

# checking WHAT: names what the next pass or fail is about.
checking() {
    printf '  %s ... ' "$1"
}

pass() {
    echo "ok${1:+ ($1)}"
}

# fail [LINE...]: reports the check as failed and goes on.
fail() {
    echo FAILED
    for line; do
        echo "$line" | sed 's/^/      /'
    done
    failures=$((failures + 1))
}

# must WHAT COMMAND...: a check that passes when the command does.
must() {
    checking "$1"
    shift
    if output=$("$@" 2>&1); then pass; else fail "$*" "$output"; fi
}

# same WHAT FILE FILE: a check that passes when the files are equal.
same() {
    checking "$1"
    if output=$(diff -u "$2" "$3" 2>&1); then pass; else fail "$output"; fi
}

# finish: ends a script of checks with its exit status.
finish() {
    if [ $failures -gt 0 ]; then
        echo "$failures of these checks failed"
        exit 1
    fi
    exit 0
}

# skip WHY: ends a stage that cannot run here; stages.sh knows the word.
skip() {
    echo "SKIPPED: $1"
    exit 0
}

# without_ours: before a cargo that may build kdregd. libbpf in it is made by a Makefile
# that takes these variables of ours, too, and would put its headers there.
without_ours() {
    unset INCLUDEDIR UAPIDIR MAKEFLAGS MFLAGS MAKEOVERRIDES
}

die() {
    echo "$0: $1" >&2
    exit 1
}

# The functions of kdreg.map, as name@@NODE.
map_symbols() {
    awk '
        /^\/\*/ { comment = 1 }
        !comment && /^KDREG_[0-9.]+ *\{/ { node = $1; sub(/\{.*/, "", node) }
        !comment && /^ *kdreg_[a-z_0-9]+;/ {
            name = $1
            sub(/;.*/, "", name)
            print name "@@" node
        }
        /\*\// { comment = 0 }
    ' "$root/libkdreg/kdreg.map" | sort
}
