# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: test-runtimes.sh SECONDS RUNTIME...
# The programs of ctest/runtimes against the library in target/prefix, for so
# long each. Right is: they end by themselves, with no stale hit, and exit with
# 0, also where they do not destroy their caches. What a runtime needs that is
# not here is said, and left out.
. "$(dirname "$0")/env.sh"
set -eu

seconds=$1
shift
case $seconds in
'' | *[!0-9]*) die "seconds are a number, not '$seconds'" ;;
esac
sources=$root/ctest/runtimes
work=$target/runtimes
export PKG_CONFIG_PATH="$target/prefix/lib/pkgconfig" LD_LIBRARY_PATH="$target/prefix/lib"
mkdir -p "$work"
run=0

# ends WHAT LIMIT COMMAND...: a check that passes when the command ends with 0
# and within a limit that only a hang reaches.
ends() {
    what=$1 limit=$2
    shift 2
    checking "$what"
    status=0
    timeout --kill-after=10 "$limit" "$@" >"$work/log" 2>&1 || status=$?
    if [ $status = 0 ]; then
        pass "$(grep '^runtime: ' "$work/log" | tail -n 1 | sed 's/^runtime: //')"
    else
        tail -n 40 "$work/log"
        fail "status $status: $*"
    fi
    run=$((run + 1))
}

left_out() { # WHAT WHY
    echo "  $1 ... left out: $2"
}

cpython() {
    # The one of the machine's own first: its library path is not that of this
    # tree's tools.
    python=
    for candidate in /usr/bin/python3 python3; do
        if "$candidate" -c 'import ctypes, mmap' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    [ -n "$python" ] || { left_out cpython "no python3 with ctypes (apt-get install python3)"; return; }
    "$python" --version
    ends "threads that map, register and unmap" $((seconds + 120)) "$python" "$sources/cpython/load.py" "$seconds"
    # Exit is where the reaper meets an interpreter that ends.
    for how in idle unmapping threads; do
        checking "ends without destroying its cache: $how"
        failed=0
        gone=0
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            status=0
            timeout --kill-after=10 120 "$python" "$sources/cpython/leave.py" "$how" >"$work/log" 2>&1 || status=$?
            # The interpreter frees the callbacks some time before it calls exit(),
            # and one that is called in between is not there: Python's own, and
            # the reason to destroy caches in atexit. Rare, on a busy machine.
            if [ $status = 139 ]; then gone=$((gone + 1)); elif [ $status != 0 ]; then failed=$status; fi
        done
        if [ "$failed" = 0 ] && [ $gone -le 1 ]; then
            pass "10 times, $gone with callbacks that were gone"
        else
            fail "status $failed, and $gone with callbacks that were gone" "$(tail -n 20 "$work/log")"
        fi
    done
}

openjdk() {
    javac=$(command -v javac) || { left_out openjdk "no javac (apt-get install default-jdk-headless)"; return; }
    home=$(dirname "$(dirname "$(readlink -f "$javac")")")
    [ -f "$home/include/jni.h" ] || { left_out openjdk "$home has no include/jni.h"; return; }
    java=$home/bin/java
    "$java" -version 2>&1 | head -n 1
    "$javac" -d "$work" "$sources/openjdk/Load.java"
    # shellcheck disable=SC2046 # one word per flag
    "$CC" -O1 -g -Wall -Wextra -Werror -shared -fPIC -o "$work/libload.so" "$sources/openjdk/load.c" \
        -I"$home/include" -I"$home/include/linux" $(pkg-config --cflags --libs kdreg)
    part=$((seconds / 4 + 1))
    for collector in UseParallelGC UseZGC UseG1GC; do
        if ! "$java" -XX:+$collector -version >/dev/null 2>&1; then
            left_out "$collector" "this machine's OpenJDK has it not"
            continue
        fi
        ends "callbacks into Java, -XX:+$collector" $((part + 120)) \
            "$java" -XX:+$collector -Xmx256m -Xcheck:jni -Djava.library.path="$work" -cp "$work" Load $part
    done
    if "$java" -XX:+UseTransparentHugePages -Xmx256m -version 2>/dev/null; then
        ends "with transparent huge pages" $((part + 120)) "$java" -XX:+UseParallelGC -XX:+UseTransparentHugePages \
            -XX:+AlwaysPreTouch -Xms256m -Xmx256m -Djava.library.path="$work" -cp "$work" Load $part
    fi
}

go_() {
    command -v go >/dev/null || { left_out go "no go (apt-get install golang-go)"; return; }
    go version
    rm -rf "$work/go"
    cp -r "$sources/go" "$work/go"
    # Nothing is fetched, and nothing kept beyond target/.
    (cd "$work/go" && printf "module load\n\ngo 1.19\n" >go.mod && GOCACHE="$work/gocache" GOPATH="$work/gopath" GOPROXY=off GOFLAGS=-mod=mod CGO_ENABLED=1 go build -o load .) ||
        { fail "go build"; return; }
    ends "goroutines, scavenger and preemption" $((seconds + 120)) "$work/go/load" "$seconds"
    ends "the collector at each chance" $((seconds + 120)) env GOGC=5 GODEBUG=madvdontneed=1 "$work/go/load" $((seconds / 4 + 1))
}

for runtime; do
    echo "$runtime:"
    case $runtime in
    cpython | openjdk) $runtime ;;
    go) go_ ;;
    *) die "no runtime '$runtime': cpython, openjdk or go" ;;
    esac
done
[ $run -gt 0 ] || [ $failures -gt 0 ] || skip "none of these runtimes is installed: $*"
finish
