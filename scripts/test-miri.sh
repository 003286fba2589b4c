# SPDX-License-Identifier: MIT OR Apache-2.0
# The unit tests of what makes no system call of its own, run by Miri: it sees
# undefined behaviour that no processor shows, and tries other orders of threads.
# Where Miri is not installed it says so. With MIRI_ALL=1 those too that it
# takes a minute for.
. "$(dirname "$0")/env.sh"
set -eu

# Nothing is fetched for this: not a toolchain, nor what Miri asks for when it has no
# sources of the standard library.
export RUSTUP_AUTO_INSTALL=0
cargo +nightly miri --version >/dev/null 2>&1 &&
    [ -d "$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library" ] ||
    skip "Miri is not installed: rustup component add miri rust-src --toolchain nightly"

# A line that names no test any more would pass.
tests=$(cargo test --quiet --locked -p libkdreg --lib -- --list)
for name in $(sed 's/#.*//' scripts/fixtures/miri-tests); do
    echo "$tests" | grep -q "^$name" || die "scripts/fixtures/miri-tests: '$name' names no test"
done

export PROPTEST_CASES="${PROPTEST_CASES:-1}"
# What a page of userfaultfd, io_uring, BPF or a real signal is needed for is not
# for Miri; nor is what takes it minutes: large tables, and models that explore by
# themselves.
slow="--skip there_may_be_more_than_there_are_places --skip a_tenth_of_the_time_is_spent \
    --skip a_note_takes_the_place --skip nothing_but_notes_of_the_page"
[ -z "${MIRI_ALL:-}" ] || slow=
MIRIFLAGS="${MIRIFLAGS:-} -Zmiri-disable-isolation -Zmiri-permissive-provenance"
export MIRIFLAGS
export XDG_CACHE_HOME="$target/miri-cache"
exec </dev/null cargo +nightly miri test --locked -p libkdreg --lib -- \
    --skip yields_entries_by_stamp --skip finds_what_was_noted --skip what_first_does_not_look_at \
    --skip what_is_forgotten_makes_room --skip a_query_touches_few_nodes --skip a_query_does_not_look_where_all \
    --skip a_removal_goes_up_as_far --skip the_highest_ends_are_right --skip a_note_looks_at_each $slow \
    $(sed 's/#.*//' scripts/fixtures/miri-tests)
