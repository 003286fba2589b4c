# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: bench.sh run [quick|full|smoke] [OPTION or SCENARIO]... | smoke | docs | vm | docs-vm | micro
# Builds the benchmark and a plug-in per library that is installed, and runs it.
. "$(dirname "$0")/env.sh"
set -eu

out=$target/bench
prefix=$target/prefix

# plugin NAME HEADER LINK...: bench/plugins/NAME.c, where HEADER is installed.
plugin() {
    name=$1
    header=$2
    shift 2
    object=$out/plugin_$name.so
    if ! echo "#include <$header>" | $CC -I "$prefix/include" -E -x c - >/dev/null 2>&1; then
        echo "no plug-in for $name: <$header> is not installed"
        rm -f "$object"
        return
    fi
    # Headers of other versions may not fit: then the rest is measured without.
    $CC -O2 -std=gnu11 -Wall -Wextra -fPIC -shared -fvisibility=hidden -I "$prefix/include" \
        -o "$object.new" "bench/plugins/$name.c" "$@" -lpthread &&
        mv "$object.new" "$object" || {
        echo "no plug-in for $name: it does not build with the headers installed here"
        rm -f "$object" "$object.new"
        # Our own must.
        case $name in kdreg | valid) exit 1 ;; esac
    }
}

plugins() {
    mkdir -p "$out"
    own="-L $prefix/lib -lkdreg -Wl,-rpath,\$ORIGIN/../prefix/lib"
    # shellcheck disable=SC2086 # several words
    plugin kdreg kdreg.h $own
    # shellcheck disable=SC2086
    plugin valid kdreg.h $own
    # shellcheck disable=SC2086
    plugin kdreg_verbs kdreg/verbs.h $own -libverbs
    plugin ucx ucs/memory/rcache.h -lucs -lucm
    plugin ucp ucp/api/ucp.h -lucp -lucs
    plugin libfabric rdma/fi_domain.h -lfabric
}

# into FILE NAME TABLES: between the lines of FILE that mark the begin and the end of NAME.
into() {
    awk -v tables="$3" -v name="$2" '
        $0 ~ "^<!-- " name ": begin" { print; print ""; while ((getline line <tables) > 0) print line; print ""; inside = 1 }
        $0 ~ "^<!-- " name ": end" { inside = 0 }
        !inside { print }
    ' "$1" | cat -s >"$out/${1##*/}"
    cmp -s "$1" "$out/${1##*/}" || cp "$out/${1##*/}" "$1"
}

case $1 in
run)
    shift
    effort=--full
    case ${1:-} in
    quick | full | smoke)
        effort=--$1
        shift
        ;;
    esac
    plugins
    cargo build --quiet --release --locked -p kdreg-bench
    exec "$target/release/kdreg-bench" "$effort" --out "$out" "$@"
    ;;
smoke)
    # The debug build shares what the other tests built; what is judged is the
    # form of what comes out, never a speed.
    plugins
    cargo build --quiet --locked -p kdreg-bench
    smoke=$out/smoke
    rm -rf "$smoke"
    "$target/debug/kdreg-bench" --smoke --plugins "$out" --out "$smoke" >"$out/smoke.log" 2>&1 || {
        tail -n 40 "$out/smoke.log"
        die "the benchmark failed"
    }
    must "every scenario has numbers, all of them finite" awk -F, -f scripts/bench-csv.awk "$smoke/bench.csv"
    for scenario in $("$target/debug/kdreg-bench" --list | awk '{ print $1 }'); do
        must "$scenario is in the table, the CSV and the page" sh -c \
            "grep -q '^== $scenario:' '$out/smoke.log' && grep -q '^$scenario,' '$smoke/bench.csv' &&
             grep -q '<h2 id=\"$scenario\">' '$smoke/bench.html'"
    done
    must "the page is well-formed and whole" "$target/debug/kdreg-bench" --check-page "$smoke/bench.html"
    finish
    ;;
vm)
    # One processor on which an instruction is a nanosecond: what the table
    # calls a time is a count. Threads would take turns: left out. libfabric
    # finds the device by the address of the guest's own name.
    plugins
    cargo build --quiet --release --locked -p kdreg-bench
    mkdir -p "$out/vm"
    exec "$root/ctest/vm/run" --icount --module "$root/kernel/kdreg.ko" --rdma --memory 3072 \
        --work "$out/vm" -- sh -c 'echo "10.99.0.1 $(hostname)" >>/etc/hosts; exec "$@"' sh \
        "$target/release/kdreg-bench" --quick --largest 1000 --clock instructions \
        --plugins "$out" --out "$out/vm" hit find miss munmap valid
    ;;
docs)
    # The tables in docs/, from a run of just now: the ratios and the growth in
    # performance.md, everything in measurements.md.
    sh "$0" run full
    sed '/^<details>/,$d' "$out/bench.md" >"$out/ratios.md"
    sed -n '/^<details>/,/^<\/details>/p' "$out/bench.md" | sed '/^<.*details>/d' >"$out/all.md"
    into docs/performance.md bench "$out/ratios.md"
    into docs/measurements.md bench "$out/all.md"
    ;;
docs-vm)
    # The same of a run in the guest: hits and munmap, and everything. The picture
    # of README.md has the hits.
    sh "$0" vm
    sed -n '/^<details>/,/^<\/details>/p' "$out/vm/bench.md" | sed '/^<.*details>/d' >"$out/vm/all.md"
    # Each table has a line that says what it is.
    awk '/^[a-z]+: / { wanted = /^hit: packed/ || /^munmap: / } wanted' "$out/vm/all.md" >"$out/vm/some.md"
    into docs/performance.md bench-vm "$out/vm/some.md"
    into docs/measurements.md bench-vm "$out/vm/all.md"
    sh scripts/pictures.sh write
    ;;
micro)
    exec cargo bench --locked -p kdreg-bench --features micro --bench micro
    ;;
*)
    die "say run, smoke, docs, vm, docs-vm or micro, not '$1'"
    ;;
esac
