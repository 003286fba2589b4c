// SPDX-License-Identifier: MIT OR Apache-2.0
//! The preload libraries are linked with libkdreg.so and say again, in Rust, what
//! its headers say of it. Here both are there to be compared: the headers are
//! generated from what this crate has (`make header`).

use kdreg::adaptors::fabric;
use kdreg::ffi::cache;
use std::mem::offset_of;

#[path = "../../preload/fabric/src/kdreg.rs"]
#[allow(dead_code, reason = "nothing is called")]
mod of_fabric;
#[path = "../../preload/verbs/src/kdreg.rs"]
#[allow(dead_code, reason = "nothing is called")]
mod of_verbs;

/// How much a member takes.
fn size_of_member<S, T>(_: impl Fn(&S) -> &T) -> usize {
    size_of::<T>()
}

/// That `theirs` begins with all of `ours`: each member where it is there, as
/// large, and nothing after those that are named.
macro_rules! begins_with {
    ($theirs:path, $ours:path, $($member:ident)*) => {{
        let mut end = 0;
        $(
            assert_eq!(
                offset_of!($ours, $member),
                offset_of!($theirs, $member),
                "{}.{}", stringify!($ours), stringify!($member)
            );
            let size = size_of_member(|all: &$ours| &all.$member);
            assert_eq!(size, size_of_member(|all: &$theirs| &all.$member));
            assert_eq!(offset_of!($ours, $member), end, "named in order");
            end += size;
        )*
        assert_eq!(size_of::<$ours>(), end, "{}: all are named", stringify!($ours));
        assert!(end <= size_of::<$theirs>());
    }};
}

#[test]
fn structures_are_as_the_headers_have_them() {
    begins_with!(cache::kdreg_cache_stats, of_verbs::kdreg_cache_stats,
        size hits misses registrations register_failures deregistrations merges evictions
        invalidations uncached duplicates entries bytes in_use unreleased_bytes);
    begins_with!(cache::kdreg_cache_attr, of_verbs::kdreg_cache_attr,
        size reg dereg ctx max_entries max_bytes max_unreleased alignment max_merge flags reserved);
    begins_with!(fabric::ffi::kdreg_fabric_stats, of_fabric::kdreg_fabric_stats,
        size starts subscriptions unwatched hits stale notifications ranges);
}

#[test]
fn constants_are_as_the_headers_have_them() {
    assert_eq!(of_verbs::KDREG_ACCESS_READ, cache::KDREG_ACCESS_READ);
    assert_eq!(of_verbs::KDREG_CACHE_NO_MERGE, cache::KDREG_CACHE_NO_MERGE);
}
