# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: check-structure.sh
# That the parts of the library and of the programs depend one way, that a
# directory says what its files are, and that files are small.
. "$(dirname "$0")/env.sh"
set -eu

cd "$root/libkdreg/src"
failed=0
complain() {
    echo "$*"
    failed=1
}

# What a file's code names, one path a line, from the crate's root: without
# comments, and without the tests at its end.
names() { # FILE
    here=$(dirname "$1" | sed 's:^\.$::; s:/:\:\::g')
    # A file beside the directory of its children is a module of its own, one that
    # is called mod.rs is its directory.
    case $1 in
    */mod.rs) self=$here ;;
    lib.rs) self= ;;
    *) self=${here:+$here::}$(basename "$1" .rs) ;;
    esac
    awk -v self="$self" '
        /^#\[cfg\(test\)\]/ { held = 1; next }
        held && /^(pub\(crate\) )?mod [a-z_]+ \{/ { exit }
        { held = 0 }
        { sub(/\/\/.*/, "") }
        # A use of several names is one for each.
        /use (crate|self|super)(::[a-z_]+)*::\{/ { use = "" ; open = 1 }
        open {
            use = use " " $0
            if (use !~ /\};/) next
            open = 0
            prefix = use; sub(/\{.*/, "", prefix); sub(/.*use /, "", prefix)
            several = use; sub(/^[^{]*\{/, "", several); sub(/\};.*/, "", several)
            if (several ~ /\{/) { print "BRACES"; next }
            count = split(several, each, /, */)
            for (i = 1; i <= count; i++) {
                gsub(/^ +| +$| as .*/, "", each[i])
                if (each[i] != "") name(prefix each[i])
            }
            next
        }
        {
            line = $0
            while (match(line, /(crate|self|super)(::[a-zA-Z_]+)+/)) {
                path = substr(line, RSTART, RLENGTH)
                line = substr(line, RSTART + RLENGTH)
                name(path)
            }
        }
        function name(path, from) {
            from = self
            if (sub(/^crate::/, "", path)) from = ""
            sub(/^self::/, "", path)
            while (sub(/^super::/, "", path)) {
                if (!sub(/::[a-z_]+$/, "", from)) from = ""
            }
            sub(/::self$/, "", path)
            print (from == "" ? path : from "::" path)
        }' "$1"
}

# What a file may not name: "FILES NAMES" as patterns.
rules='
ffi/*                  adaptors::*
cache/*                adaptors::* ffi::* monitor::backend::* monitor::shared::* monitor::kernel::* monitor::bpf::* monitor::userfaultfd::* monitor::none::*
monitor/*              adaptors::* ffi::* cache::*
monitor/kernel/*       monitor::shared::* monitor::probe::* monitor::bpf::* monitor::userfaultfd::* monitor::none::*
monitor/bpf/*          monitor::shared::* monitor::probe::* monitor::kernel::* monitor::userfaultfd::* monitor::none::*
monitor/userfaultfd/*  monitor::shared::* monitor::probe::* monitor::kernel::* monitor::bpf::* monitor::none::*
monitor/none.rs        monitor::shared::* monitor::probe::* monitor::kernel::* monitor::bpf::* monitor::userfaultfd::*
monitor/change_log/*   monitor::shared::* monitor::probe::* monitor::kernel::* monitor::bpf::* monitor::userfaultfd::* monitor::none::* monitor::table::* monitor::subscription::*
monitor/state_words.rs monitor::shared::* monitor::kernel::* monitor::bpf::* monitor::userfaultfd::* monitor::none::* monitor::table::*
monitor/table.rs       monitor::shared::* monitor::kernel::* monitor::bpf::* monitor::userfaultfd::* monitor::none::*
monitor/table/*        monitor::shared::* monitor::kernel::* monitor::bpf::* monitor::userfaultfd::* monitor::none::*
monitor/validity.rs    monitor::shared::* monitor::kernel::* monitor::bpf::* monitor::userfaultfd::* monitor::none::*
'

set -f
for file in $(find . -name '*.rs' | sed 's:^\./::' | sort); do
    case $file in
    */tests.rs | */tests/*) continue ;;
    adaptors/* | ffi/* | cache/* | monitor/*) base=no ;;
    lib.rs) continue ;;
    *) base=yes ;;
    esac
    named=$(names "$file" | sort -u)
    while read -r files forbidden; do
        [ -n "$files" ] || continue
        # shellcheck disable=SC2254
        case $file in $files) ;; *) continue ;; esac
        for pattern in $forbidden; do
            for name in $named; do
                # shellcheck disable=SC2254
                case $name in
                $pattern | "${pattern%::\*}") complain "$file: names $name, which is above or beside it" ;;
                esac
            done
        done
    done <<END
$rules
END
    for name in $named; do
        case $base:$name in
        *:BRACES) complain "$file: braces within braces: give each module a use of its own" ;;
        yes:adaptors::* | yes:ffi::* | yes:cache::* | yes:monitor::*)
            complain "$file: names $name, which is above it" ;;
        esac
    done
done

# The maps.
for directory in $(find . -name mod.rs -exec dirname {} \; | sed 's:^\./::' | sort); do
    map=$(awk '/^\/\/ Files, in reading order:/ { on = 1; next } on && /^\/\/   / { print $2; next } on { exit }' "$directory/mod.rs")
    [ -n "$map" ] || complain "$directory/mod.rs: does not begin with a map of the files"
    there=$(for entry in $(ls "$directory"); do
        case $entry in
        mod.rs | tests.rs | tests) ;;
        *.rs) basename "$entry" .rs ;;
        *) [ ! -e "$directory/$entry/mod.rs" ] || echo "$entry/" ;;
        esac
    done)
    for entry in $there; do
        echo "$map" | grep -qx "$entry" || complain "$directory/mod.rs: its map has no $entry"
    done
    for entry in $map; do
        echo "$there" | grep -qx "$entry" || complain "$directory/mod.rs: its map has $entry, which is not there"
    done
done

# Says which of a directory's parts, pairs of which come in, need each other.
circles() { # DIRECTORY
    found=$(awk -f "$root/scripts/circles.awk" | sort | tr '\n' ' ')
    [ -z "$found" ] || complain "$1: in a circle: $found"
}

# Of a crate, the modules at its top, and those of each module.
for crate in libkdreg/src tools/kdreg_info/src preload/fabric/src preload/verbs/src bench/src tools/kdregd/src; do
    cd "$root/$crate"
    for directory in $(find . -name '*.rs' -exec dirname {} \; | sed 's:^\./*::' | sort -u | grep -v -e '^tests$' -e '/tests$'; echo .); do
        case $directory in
        .) inside= prefix= ;;
        *) inside=$directory/ prefix=$(echo "$directory" | sed 's:/:\:\::g')::
        esac
        for file in $(find "$directory" -name '*.rs' | sed 's:^\./::' | sort); do
            part=${file#"$inside"}
            case $part in main.rs | lib.rs | mod.rs | tests.rs | */tests.rs | */tests/*) continue ;; esac
            part=${part%%/*}
            part=${part%.rs}
            for name in $(names "$file" | sed -n "s/^$prefix//p" | sed 's/::.*//' | sort -u); do
                if [ "$name" = "$part" ]; then
                    continue
                elif [ -e "$inside$name.rs" ] || [ -d "$inside$name" ]; then
                    echo "$part $name"
                # The root uses every module.
                elif [ "$directory" = . ] && grep -qsE "^(pub(\(crate\))? )?fn $name\b" lib.rs main.rs; then
                    echo "$part the_root"
                    echo "the_root $part"
                fi
            done
        done | sort -u >"$target/uses"
        circles "$crate${inside:+/$directory}" <"$target/uses"
    done
done
# Of programs in C, the files.
cd "$root"
for directory in $(git ls-files 'ctest/*.c' 'tools/*.c' 2>/dev/null | sed 's:/[^/]*$::' | sort -u); do
    files=$(find "$directory" -maxdepth 1 -name '*.c' | sed 's:.*/::' | sort)
    # shellcheck disable=SC2086 # one word per file
    (cd "$directory" && awk -f "$root/scripts/c-uses.awk" $files $files) >"$target/uses"
    circles "$directory" <"$target/uses"
done
cd "$root/libkdreg/src"

# Sizes.
limit=400
cd "$root"
for file in $(git ls-files 2>/dev/null | grep -E '\.(rs|c|h|cpp|sh|mk|awk|py)$|(^|/)(Makefile|CMakeLists\.txt)$'); do
    # Generated: the headers.
    case $file in include/* | */assets/*) continue ;; esac
    [ -f "$file" ] || continue
    lines=$(wc -l <"$file")
    [ "$lines" -le $limit ] || complain "$file: $lines lines, of $limit at most: it has more than one concern"
done

[ $failed = 0 ] || die "the library's structure is not what docs/architecture.md says"
