# SPDX-License-Identifier: MIT OR Apache-2.0
# The manual pages: well formed, complete, in step with the headers, the
# programs and the module; every example is compiled and run.
. "$(dirname "$0")/env.sh"
set -eu

command -v mandoc >/dev/null || die "mandoc is missing: run make prerequisites"
work=$target/check-man
rm -rf "$work"
mkdir -p "$work"
prefix=$target/prefix
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig" LD_LIBRARY_PATH="$prefix/lib" PATH="$prefix/bin:$PATH:$dist"
headers=$(ls include/kdreg.h include/kdreg/*.h 2>/dev/null || true)

# nothing WHAT LIST: a check that passes when the list is empty.
nothing() {
    checking "$1"
    if [ -z "$2" ]; then pass; else fail "$2"; fi
}

echo "the pages:"
# The pages proper, and those that only lead to one.
grep -L '^\.so ' man/*.[1-9] >"$work/proper"
pages=$(tr '\n' ' ' <"$work/proper")
grep -H '^\.so ' man/*.[1-9] | sed 's/:\.so / /' | sort >"$work/links"
# Which manuals a machine has installed is not the pages' affair; those of this
# project are looked at below.
# shellcheck disable=SC2086 # one word per page
nothing "mandoc -T lint -W style" "$(mandoc -T lint -W style $pages 2>/dev/null |
    grep -v 'referenced manual not found' || true)"
for page in $pages; do
    section=${page##*.}
    name=$(basename "$page" ".$section")
    grep -q "^\.Dt $(echo "$name" | tr a-z A-Z) $section\$" "$page" || echo "$page"
done >"$work/title"
nothing "each .Dt has the name and section of its file" "$(cat "$work/title")"
sh scripts/man-links.sh list | sort >"$work/wanted"
same "each other name has a page that leads there (else: make man-links)" "$work/wanted" "$work/links"
# NAME SECTION of every page.
basename -a man/*.[1-9] | sed 's/\.\([1-9]\)$/ \1/' | sort >"$work/pages"
grep -h '^\.Xr kdreg' man/*.[1-9] | awk '{ print $2, $3 }' | sort -u >"$work/references"
nothing "each page referred to is there" "$(comm -13 "$work/pages" "$work/references")"

echo "against the headers:"
# shellcheck disable=SC2086 # one word per header
awk -v base=include/ -f scripts/prototypes.awk $headers | sort -u >"$work/declared"
awk -v base=include/ -f scripts/prototypes.awk man/*.3 | sort >"$work/documented"
checking "prototypes are those of the headers, each once"
if output=$(diff -U0 "$work/declared" "$work/documented" | grep '^[-+][^-+]'); then
    fail "-: header without page, +: page without header" "$output"
else
    pass "$(wc -l <"$work/declared")"
fi
map_symbols | sed 's/@@.*//' | sort >"$work/exported"
awk '$2 == 3 { print $1 }' "$work/pages" | sort >"$work/named"
nothing "each exported symbol has a page" "$(comm -23 "$work/exported" "$work/named")"
cut -f 1 "$work/declared" | sort >"$work/functions"
nothing "each page of section 3 is of a function that exists" "$(comm -13 "$work/functions" "$work/named")"

# Constants of the library, and what the pages call by such a name.
# shellcheck disable=SC2086
sed -n 's/^#define \(KDREG_[A-Z0-9_]*\)[ (].*/\1/p' $headers | sort -u >"$work/constants"
sed -n 's/^#define \(KDREG2*_[A-Z0-9_]*\).*/\1/p' include/kdreg2.h | sort -u >"$work/device"
cat man/*.[37] | grep -oE 'KDREG_[A-Z0-9_]+' | sort -u >"$work/mentioned"
nothing "each constant of the headers is in a page" "$(comm -23 "$work/constants" "$work/mentioned")"
cat man/*.[1-9] | grep -v '^\.Dt' | grep -oE 'KDREG2?_[A-Z0-9_]+' | sort -u >"$work/every"
# Environment variables, as the sources name them.
grep -rhoE '(VARIABLE: &str = |var(_os)?\(|switch\(|variable\(|text_of\()c?"KDREG_[A-Z_]+"' libkdreg/src preload/*/src |
    sed "s/.*\"\(.*\)\"/\1/" | grep -v NO_SUCH | sort -u >"$work/variables"
# Those of one program are in its own page.
grep -rhoE 'getenv\("KDREG_[A-Z_]+"' tools | sed "s/.*\"\(.*\)\"/\1/" >"$work/programs"
sort -u "$work/constants" "$work/device" "$work/variables" "$work/programs" >"$work/known"
nothing "each constant in a page exists" "$(comm -13 "$work/known" "$work/every" | while read -r word; do
    # A prefix ends in an underscore, as in KDREG_ACCESS_*.
    case $word in *_) grep -q "^$word" "$work/known" && continue ;; esac
    echo "$word"
done)"
nothing "each environment variable is in section 7" "$(while read -r variable; do
    grep -q "^\.It Ev $variable\$" man/*.7 || echo "$variable"
done <"$work/variables")"

nothing "each thread of the library's is in kdreg(7)" "$(grep -rhoE 'spawn\(c?"kdreg-[a-z]+' libkdreg/src | grep -v test | sed 's/.*"//' |
    while read -r thread; do grep -q "^\.It $thread\$" man/kdreg.7 || echo "$thread"; done)"

# A structure's members are all in the page that explains it.
# shellcheck disable=SC2086
awk '
    /^struct kdreg[a-z_]* \{/ { structure = $2; next }
    /^};/ { structure = "" }
    structure != "" && /;$/ && !/^ *\*/ {
        name = $0; sub(/\[.*/, "", name); sub(/;$/, "", name); sub(/.*[ *]/, "", name)
        print structure, name
    }' $headers >"$work/members"
nothing "each member of a structure is in its page" "$(while read -r structure member; do
    pages=$(grep -lE "^\.Fa \"(const )?struct $structure \*" man/*.3)
    # shellcheck disable=SC2086
    [ -n "$pages" ] && cat $pages | grep -qE "(Fa|,) $member\b" || echo "struct $structure: $member"
done <"$work/members")"

echo "against the device and the programs:"
nothing "each ioctl, feature and change of kdreg2.h is in kdreg(4)" "$(grep -E '_(IOCTL|FEATURE|CHANGE|MONITOR)_' "$work/device" |
    while read -r word; do grep -q "$word" man/kdreg.4 || echo "$word"; done)"
nothing "each module parameter is in kdreg(4)" "$(awk '
    /params: \{/ { inside = 1; next }
    inside && /^ *[a-z_]+: [a-z0-9]+ \{/ { sub(/:.*/, ""); sub(/^ */, ""); print }' kernel/kdreg.rs |
    while read -r word; do grep -q "^\.It Cm $word" man/kdreg.4 || echo "$word"; done)"
for program in "$prefix"/bin/kdreg_* "$dist/kdregd"; do
    name=$(basename "$program")
    page=man/$name.1
    [ "$name" != kdregd ] || page=man/$name.8
    # What could not be built here.
    [ -f "$program" ] || continue
    checking "$name --help and $page have the same options"
    if [ ! -f "$page" ]; then
        fail "there is no $page"
        continue
    fi
    "$program" --help | grep -oE '(^|[ ,|[])--[a-z][a-z-]*' | sed 's/.*--/--/' | sort -u >"$work/help"
    grep '^\.It' "$page" | grep -oE 'Fl Fl [a-z][a-z-]*' | sed 's/Fl Fl /--/' | sort -u >"$work/options"
    if output=$(diff "$work/help" "$work/options"); then
        pass "$(wc -l <"$work/help")"
    else
        fail "<: --help, >: the page" "$output"
    fi
done

# name kernel userfaultfd none, as kdreg_info has it, without bpf, whose
# capabilities differ from machine to machine; of the page, the columns
# of backends that work here and, for userfaultfd, have all that it can.
kdreg_info --capabilities | awk 'NF > 3 && $2 ~ /^(yes|no|-)$/ { print $1, $2, $4, $5 }' >"$work/capabilities"
awk '/^\.It Em name/ { inside = 1; next } /^\.El/ { inside = 0 }
    inside { gsub(/ Ta /, " "); gsub(/\[[0-9]\]/, ""); print $2, $3, $5, $6 }' man/kdreg_backends.7 >"$work/table"
awk 'NR == FNR { kernel[$1] = $2; userfaultfd[$1] = $3; none[$1] = $4; next }
    { if (kernel[$1] == "-" || kernel["sync"] != "yes") $2 = kernel[$1]
      if (userfaultfd["all-memory"] != "yes") $3 = userfaultfd[$1]
      if (none[$1] == "-") $4 = "-"
      print }' "$work/capabilities" "$work/table" >"$work/table.here"
same "the table of kdreg_backends(7) is what kdreg_info --capabilities says" "$work/capabilities" "$work/table.here"

echo "installed:"
stage=$work/stage
must "make install" env -u MAKEFLAGS PREFIX=/usr DESTDIR="$stage" BINDIR= LIBDIR= INCLUDEDIR= MANDIR= \
    sh scripts/install.sh install
nothing "each name is a page that mandoc shows" "$(while read -r name section; do
    file=$stage/usr/share/man/man$section/$name.$section
    if [ ! -f "$file" ]; then
        echo "no $file"
    elif ! (cd "$stage/usr/share/man" && mandoc -T html "$file" | grep -q "$name"); then
        echo "$file does not show $name"
    fi
done <"$work/pages")"
must "make uninstall" env -u MAKEFLAGS PREFIX=/usr DESTDIR="$stage" BINDIR= LIBDIR= INCLUDEDIR= MANDIR= \
    sh scripts/install.sh uninstall
nothing "no page is left" "$(find "$stage" ! -type d)"

echo "the examples:"
mkdir -p "$work/examples"
awk -v dir="$work/examples" -f scripts/man-examples.awk man/*.[1-9] >"$work/list"
[ -s "$work/list" ] || die "no page has an example"
# Of what the first release had, most are in every other.
awk '/^KDREG_/ { node = $1 } node != "KDREG_0.1" && /^    kdreg/ { sub(/;/, ""); print $1 }' libkdreg/kdreg.map >"$work/since"
nothing "each function since 0.2 is in an example, of a page or in ctest/examples" "$(while read -r name; do
    grep -qw "$name" "$work"/examples/*.c ctest/examples/*.c || echo "$name"
done <"$work/since")"
warnings="-std=gnu11 -O1 -Wall -Wextra -Werror -pthread -Iinclude"
tab=$(printf '\t')
# What kdreg_info(1) looks at: a process with a cache, $PID in its examples.
# shellcheck disable=SC2046,SC2086
must "a process to look at" $CC $warnings "$fixtures/holder.c" $(pkg-config --cflags --libs kdreg) -o "$work/holder"
[ $failures -eq 0 ] || finish
mkfifo "$work/ready"
"$work/holder" >"$work/ready" &
export PID=$!
trap 'kill $PID 2>/dev/null' EXIT
read -r _ <"$work/ready"
while IFS="$tab" read -r place rule file; do
    checking "$place: $rule"
    case $rule in
    sh*)
        needs=${rule#sh}
        needs=${needs# needs }
        if [ -n "$needs" ] && ! command -v "$needs" >/dev/null; then
            pass "not run: $needs was not built here"
            continue
        fi
        status=0
        output=$(timeout 60 sh -eu "$file" 2>&1 </dev/null) || status=$?
        ;;
    run*)
        needs=$(echo "$rule" | sed -n 's/.* needs \([^ ]*\).*/\1/p')
        with=$(echo "$rule" | sed -n 's/.* with //p')
        if [ -n "$needs" ] && ! echo "#include <$needs>" | $CC -Iinclude -E -x c - >/dev/null 2>&1; then
            pass "not compiled: <$needs> is not installed"
            continue
        fi
        # shellcheck disable=SC2046,SC2086 # one word per flag
        if ! output=$($CC $warnings "$file" $(pkg-config --cflags --libs kdreg) $with -o "${file%.c}" 2>&1); then
            fail "$output"
            continue
        fi
        status=0
        output=$(timeout 60 "${file%.c}" 2>&1 </dev/null) || status=$?
        ;;
    *)
        fail "no rule that scripts/man-examples.awk knows stands before it"
        continue
        ;;
    esac
    case $status in
    0) pass ;;
    77) pass "compiled; cannot run here: $(echo "$output" | tail -n 1)" ;;
    *) fail "status $status" "$output" ;;
    esac
done <"$work/list"
for page in $pages; do
    grep -q "^$(basename "$page"):" "$work/list" || {
        checking "$page has an example"
        fail "it has none"
    }
done
finish
