# SPDX-License-Identifier: MIT OR Apache-2.0
# Does what README.md and the pages of docs/ say, block by block and in this
# order, in a clean clone. The line before a fenced block is its rule, an HTML
# comment:
#
#   run                 commands, run in the clone with the library in PATH and pkg-config's path
#   file: NAME          a file for the commands that follow; C must compile without a warning
#   compile: NAME needs HEADER   C that must compile, where HEADER is installed
#   output: COMMAND     just what COMMAND prints, on the userfaultfd backend
#   rows: COMMAND       its first column is that of what COMMAND prints (the others depend on the machine)
#   covered: TARGET     TARGET of the Makefile does it
#   guest               needs a kernel to load modules into: only parsed
#   by hand             takes long, or a machine of its own: only parsed
#   sample: COMMAND     from one run, not the same each time
#
# Between "matrix: begin" and "matrix: end" of docs/matrix.md stands what the matrix prints: its rows must
# be the same.
. "$(dirname "$0")/env.sh"
set -eu
# A reader has none of the variables that make exports here.
unset PREFIX BINDIR LIBDIR INCLUDEDIR DESTDIR MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL

git rev-parse --git-dir >/dev/null 2>&1 || skip "this is no git checkout"
work=$target/readme
blocks=$work/blocks
clone=$work/clone
rm -rf "$blocks" "$clone"
mkdir -p "$blocks" "$work/target"
git clone -q --no-hardlinks "$root" "$clone"
# What was built the last time stays; the clone itself is new.
ln -s ../target "$clone/target"

# Each block into a file, its rule into another. An unclosed fence is a block without an end.
# shellcheck disable=SC2046 # one word per page
awk -v dir="$blocks" '
    FNR == 1 && inside { exit }
    /^```/ && !inside {
        inside = 1; name = sprintf("%s/%03d", dir, ++n)
        print (rule == "" ? "none" : rule) >(name ".rule"); print FILENAME ":" FNR >(name ".line")
        printf "" >(name ".text"); next
    }
    /^```/ { inside = 0; rule = ""; next }
    inside { print >(name ".text"); next }
    /^<!-- .* -->$/ { rule = $0; sub(/^<!-- /, "", rule); sub(/ -->$/, "", rule); next }
    { rule = "" }
    END { if (inside) { print "none" >(name ".rule") } }
' README.md $(git ls-files 'docs/*.md')

echo "building the library in a clean clone ..."
make --no-print-directory -C "$clone" prefix >"$work/build.log" 2>&1 || {
    tail -n 20 "$work/build.log"
    die "the clone does not build"
}
prefix=$clone/target/prefix
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig" LD_LIBRARY_PATH="$prefix/lib" PATH="$prefix/bin:$PATH"
cd "$clone"

warnings="-std=gnu11 -Wall -Wextra -Werror"
selected() {
    kdreg_info --selected | sed -n 's/.*: //p'
}
first_column() {
    awk 'NF { print $1 }' "$1"
}

set -- "$blocks"/*.rule
[ -e "$1" ] || die "the pages have no fenced block"
for rule_file; do
    base=${rule_file%.rule}
    text=$base.text
    rule=$(cat "$rule_file")
    argument=${rule#*: }
    what="$(cat "$base.line"): $rule"
    case $rule in
    run) must "$what" sh -eux "$text" ;;
    file:*)
        cp "$text" "$argument"
        case $argument in
        *.c) must "$what" $CC $warnings $(pkg-config --cflags kdreg) -fsyntax-only "$argument" ;;
        *) must "$what" test -s "$argument" ;;
        esac
        ;;
    compile:*)
        header=${argument##* needs }
        name=${argument%% needs *}
        cp "$text" "$name"
        if echo "#include <$header>" | $CC -E -x c - >/dev/null 2>&1; then
            must "$what" $CC $warnings $(pkg-config --cflags kdreg) -c -o "$name.o" "$name"
        else
            echo "  $what ... not compiled: <$header> is not installed"
        fi
        ;;
    output:*)
        if [ "$(selected)" = userfaultfd ]; then
            sh -c "$argument" >"$base.is" 2>&1 || true
            same "$what" "$text" "$base.is"
        else
            echo "  $what ... not compared: another backend is in use"
        fi
        ;;
    rows:*)
        sh -c "$argument" >"$base.out"
        first_column "$base.out" >"$base.is"
        first_column "$text" >"$base.said"
        same "$what" "$base.said" "$base.is"
        ;;
    covered:*) must "$what" make -n "$argument" ;;
    guest | "by hand") must "$what" sh -n "$text" ;;
    sample:*) echo "  $what ... not compared" ;;
    *) fail "$what: no rule that this script knows; see its head" ;;
    esac
done

# The matrix is the C tests' program; its changes are the same on any machine.
matrix=$target/ctest/matrix/matrix
if [ -x "$matrix" ] && [ "$(selected)" = userfaultfd ]; then
    rows() {
        awk -F'|' '/^\| / { gsub(/^ +| +$/, "", $2); print $2 }' "$1"
    }
    "$matrix" userfaultfd --markdown >"$work/matrix.md"
    sed -n '/^<!-- matrix: begin/,/^<!-- matrix: end/p' "$root/docs/matrix.md" >"$work/matrix.said.md"
    rows "$work/matrix.md" >"$work/matrix.is"
    rows "$work/matrix.said.md" >"$work/matrix.said"
    same "the detection matrix has the rows that the program prints" "$work/matrix.said" "$work/matrix.is"
else
    echo "  the detection matrix ... not compared: no target/ctest (make test-c) or no userfaultfd"
fi
finish
