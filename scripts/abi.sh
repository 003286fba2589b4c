# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: abi.sh check|write [DIRECTORY [INCLUDE]]
# Compares the C interface with what abi/ (DIRECTORY) has on record, or records
# it. What changes a program that is already compiled needs another SONAME;
# what only adds to it must be recorded.
#
# Rust's debug information describes Rust's types. What a C program is compiled
# against is described by a stub: every function of the headers (INCLUDE),
# defined in C, with the SONAME and the symbol versions of the library. The
# symbols of the library itself are compared with the stub's.
. "$(dirname "$0")/env.sh"
set -eu

action=$1
record=${2:-$root/abi}
include=${3:-$root/include}
dump=$record/libkdreg.abi
constants=$record/constants

command -v abidw >/dev/null && command -v abidiff >/dev/null ||
    skip "abidw is not installed (package abigail-tools)"
[ "$(uname -m)" = x86_64 ] || skip "the record in abi/ is of x86-64, this is $(uname -m)"

work=$(mktemp -d "$target/abi.XXXXXX")
trap 'rm -rf "$work"' EXIT
headers=$(cd "$include" && find kdreg.h kdreg -name '*.h' 2>/dev/null | sort)
sources=$(for header in $headers; do echo "$include/$header"; done)

# Each declaration, from its first line to the semicolon, with a body instead.
# shellcheck disable=SC2086 # one word per header
stub() {
    for header in $headers; do echo "#include <$header>"; done
    awk '
        /^[a-z].*[ *]kdreg_[a-z_0-9]*\(/ && !/^(typedef|static|extern "C")/ { inside = 1 }
        inside {
            done = sub(/;.*/, " { __builtin_trap(); }")
            print
            if (done) inside = 0
        }' $sources
}

# Values that were compiled into programs. The header's version is meant to change, and
# initialisers grow with their structures.
# shellcheck disable=SC2086
print_constants() {
    echo '#include <stdio.h>'
    for header in $headers; do echo "#include <$header>"; done
    echo 'int main(void) {'
    sed -n 's/^#define \(KDREG_[A-Z0-9_]*\) [^"].*/printf("%s %lld\\n", "\1", (long long)(\1));/p' $sources |
        grep -vE '"KDREG_(VERSION[A-Z_]*|[A-Z_]*_INIT)"'
    echo 'return 0; }'
}

# layout DUMP: "name size" for each structure of ours, "name number offset" for
# each of its members; sizes and offsets in bits.
layout() {
    awk -F"'" '
        /<class-decl name=.kdreg_[a-z_0-9]*. size-in-bits/ { name = $2; number = 0; print name, "size", $4 }
        name != "" && /<data-member / {
            for (i = 1; i < NF; i++) if ($i ~ /layout-offset-in-bits=$/) print name, ++number, $(i + 1)
        }
        /<\/class-decl>/ { name = "" }' "$1"
}

# A structure that begins with its size may grow at its end: the library looks
# at the size before it looks further. This is HEADER without what such
# structures have beyond the record.
as_recorded() {
    awk '
        NR == FNR { if ($2 != "size" && $2 > members[$1]) members[$1] = $2; next }
        /^(typedef )?struct kdreg_[a-z_0-9]* \{/ {
            name = $0; sub(/.*struct /, "", name); sub(/ .*/, "", name)
            number = grows = 0
        }
        /^}/ { name = "" }
        name != "" && /^ +[a-z].*;/ {
            if (++number == 1 && $1 == "size_t" && $2 == "size;") grows = 1
            if (grows && name in members && number > members[name]) next
        }
        { print }' "$work/record.layout" "$1"
}

# New members must lie beyond the recorded size: what was padding has no value.
in_padding() {
    layout "$work/now.abi" | awk '
        NR == FNR { if ($2 == "size") size[$1] = $3; else known[$1 " " $2] = 1; next }
        $2 != "size" && $1 in size && !(($1 " " $2) in known) && $3 + 0 < size[$1] + 0 {
            printf "%s: member %d begins within the recorded size\n", $1, $2
        }' "$work/record.layout" -
}

# describe INCLUDE DUMP: the interface that those headers declare.
describe() {
    "$CC" -std=gnu11 -g -O0 -fPIC -shared -I"$1" stub.c -o stub.so \
        -Wl,-soname,"$soname" -Wl,--version-script,"$root/libkdreg/kdreg.map"
    abidw --no-show-locs --no-corpus-path --no-comp-dir-path --no-elf-needed --out-file "$2" stub.so
}

cd "$work"
stub >stub.c
print_constants >constants.c
"$CC" -std=gnu11 -I"$include" constants.c -o constants.run
./constants.run | sort >constants
describe "$include" now.abi
cd "$root"

exported() {
    nm -D --defined-only --with-symbol-versions "$1" | awk '$2 != "A" { print $3 }' | sort
}
exported "$work/stub.so" >"$work/stub.symbols"
exported "$dist/libkdreg.so" >"$work/library.symbols"
same "libkdreg.so has the functions of the headers, in the versions of kdreg.map" \
    "$work/stub.symbols" "$work/library.symbols"
checking "the dump describes every structure of the headers"
# shellcheck disable=SC2086
unknown=$(sed -n 's/^\(typedef \)\{0,1\}struct \(kdreg_[a-z_0-9]*\) {.*/\2/p' $sources | while read -r name; do
    grep -q "class-decl name='$name' size-in-bits" "$work/now.abi" || echo "$name: no function leads to it"
done)
if [ -z "$unknown" ]; then pass "$(wc -l <"$work/constants") constants besides"; else fail "$unknown"; fi

store() {
    mkdir -p "$record"
    cp "$work/now.abi" "$dump"
    cp "$work/constants" "$constants"
    echo "recorded in $record: $soname"
}
recorded=$(sed -n "s/.*<abi-corpus .*soname='\([^']*\)'.*/\1/p" "$dump" 2>/dev/null || true)
if [ "$recorded" != "$soname" ]; then
    if [ "$action" = write ] && [ $failures -eq 0 ]; then
        store
        finish
    fi
    fail "abi/ is of ${recorded:-nothing}, the library is $soname: run 'make abi' and commit abi/"
    finish
fi

checking "programs compiled against the recorded $soname run with this one"
layout "$dump" >"$work/record.layout"
mkdir -p "$work/include/kdreg"
for header in $headers; do as_recorded "$include/$header" >"$work/include/$header"; done
(cd "$work" && describe "$work/include" then.abi)
status=0
broken=$(abidiff --no-added-syms "$dump" "$work/then.abi" 2>&1) || status=$?
lost=$(comm -23 "$constants" "$work/constants" | sed 's/^/constant gone or changed: /')
padding=$(in_padding)
if [ $status -eq 0 ] && [ -z "$lost$padding" ]; then
    pass
else
    fail "$broken" "$lost" "$padding" "This needs another SONAME (the major version), or to be undone."
    finish
fi

if [ "$action" = write ]; then
    if [ $failures -eq 0 ]; then store; fi
    finish
fi
checking "nothing has been added that is not on record"
if added=$(abidiff "$dump" "$work/now.abi" 2>&1 && diff "$constants" "$work/constants"); then
    pass
else
    fail "$added" "These additions break nothing: run 'make abi' and commit abi/."
fi
finish
