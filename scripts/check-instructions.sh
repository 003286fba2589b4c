# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: check-instructions.sh check|write
# Counts the instructions of single operations under callgrind and compares
# them with bench/instructions.txt, or writes that file anew.
#
# Two runs that differ in the number of operations alone: what setting up costs
# cancels out. Counts depend on the compiler: a tenth more or less passes.
. "$(dirname "$0")/env.sh"
set -eu

committed=$root/bench/instructions.txt
tolerance=10

command -v valgrind >/dev/null || skip "valgrind is not installed (apt-get install valgrind)"
case ${1:-check} in check | write) ;; *) die "say check or write, not '$1'" ;; esac

# Without the development dependencies, which take longer than all the rest.
directory=$target/instructions
CARGO_PROFILE_RELEASE_LTO=off cargo rustc --quiet --release --locked -p libkdreg --lib \
    --target-dir "$directory" --crate-type rlib
rustc --edition 2024 -C opt-level=3 -C codegen-units=1 --crate-name cost \
    --extern "kdreg=$directory/release/libkdreg.rlib" -L "dependency=$directory/release/deps" \
    -o "$directory/cost" "$root/libkdreg/examples/cost.rs"

total() { # KIND REGIONS OPERATIONS
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$directory/cost" "$1" "$2" "$3" \
        2>"$directory/callgrind.log" >/dev/null || {
        cat "$directory/callgrind.log"
        die "callgrind could not run $directory/cost $1"
    }
    awk '/Collected/ { print $4 }' "$directory/callgrind.log"
}

regions() { # KIND
    case $1 in
    in-turn) echo 1 ;;
    *) echo 100 ;;
    esac
}

# What threads that wait for each other cost before it begins does not cancel
# out, and must be little beside the rest.
operations() { # KIND
    case $1 in
    in-turn) echo 200000 ;;
    *) echo 10000 ;;
    esac
}

count() { # KIND REGIONS
    more=$(operations "$1")
    few=$(total "$1" "$2" 1000)
    many=$(total "$1" "$2" $((1000 + more)))
    echo $(((many - few + more / 2) / more))
}

new=$directory/instructions.txt
cat >"$new" <<END
# SPDX-License-Identifier: MIT OR Apache-2.0
# Instructions of one operation, counted by scripts/check-instructions.sh.
# After a change that is meant: sh scripts/check-instructions.sh write
#
# hit, interior, find: kdreg_cache_get or _find, and _put, in C's terms.
# with, try: kdreg_cache_get_with or _try_get of what is found, and _put. hold: kdreg_cache_hold, and _put.
# check: kdreg_entry_check. pin: kdreg_cache_prioritize. data, caps, info: kdreg_entry_data,
# kdreg_cache_caps, kdreg_cache_info. log: kdreg_add_log, and _remove_log.
# drop, evict: of a new entry, registered as by miss, with a function that is told. each: for each entry.
# prefetch: kdreg_cache_prefetch of what is registered as by miss, many at a time, both threads'.
# drain: for each entry of a cache that is made, filled, drained and destroyed.
# group: a miss in one of two caches, for which what was used longest ago in both goes. group-evict: kdreg_group_evict, of a new entry
# as by evict. group-made: kdreg_group_create and _destroy.
# rust, relaxed: the same in Rust; with the guard of relaxed userfaultfd.
# shared: by a thread that the entries did not belong to at first.
# in-turn: of an entry that two threads used in turn, and so is shared.
# told: invalidate a range that covers nothing.
# list, list-miss: kdreg_cache_getv and _putv, for each range of 20: found; watched at once, and registered as by miss.
# miss: register, evict, monitor, unmonitor. atomics: two, to compare with.
#
# kind regions instructions
END
failed=0
for kind in atomics hit interior find with try hold check pin data caps info log drop evict each prefetch drain group group-evict group-made rust relaxed shared in-turn list list-miss told miss; do
    regions=$(regions $kind)
    now=$(count $kind "$regions")
    echo "$kind $regions $now" >>"$new"
    [ "${1:-check}" = check ] || { echo "$kind: $now"; continue; }
    then=$(awk -v kind=$kind '$1 == kind { print $3 }' "$committed")
    [ -n "$then" ] || die "bench/instructions.txt has no line for $kind"
    verdict=ok
    if [ $((now * 100)) -gt $((then * (100 + tolerance))) ]; then
        verdict="more than $tolerance % above"
        failed=1
    elif [ $((now * 100)) -lt $((then * (100 - tolerance))) ]; then
        verdict="more than $tolerance % below: commit the new count"
        failed=1
    fi
    echo "$kind: $now instructions, $then committed: $verdict"
done
if [ "${1:-check}" = write ]; then
    mkdir -p "$(dirname "$committed")"
    cp "$new" "$committed"
elif [ $failed = 1 ]; then
    die "if this is meant: sh scripts/check-instructions.sh write, and commit bench/instructions.txt"
fi
