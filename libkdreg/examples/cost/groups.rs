// SPDX-License-Identifier: MIT OR Apache-2.0
//! What calls cost that are about a whole cache, several, or a thread of a cache's own.

use super::{Duration, Instant, Manual, PAGE, black_box, cache_of, ffi, null_mut, start_of};
use ffi::cache as c;
use ffi::{kdreg_cache_t, kdreg_entry_t, kdreg_group_t};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Thread};

fn get_and_put(cache: *mut kdreg_cache_t, index: usize) {
    let (mut entry, address) = (null_mut(), start_of(index) as *const _);
    let got = c::kdreg_cache_get(cache, address, 2 * PAGE, 1, &raw mut entry);
    assert_eq!(black_box(got), 0);
    assert_eq!(black_box(c::kdreg_cache_put(cache, entry)), 0);
}

/// A group of so many entries at most; 0: no limits.
fn group_of(max_entries: usize) -> *mut kdreg_group_t {
    let attr = c::kdreg_group_attr {
        size: size_of::<c::kdreg_group_attr>(),
        max_entries,
        // SAFETY: integers.
        ..unsafe { std::mem::zeroed() }
    };
    let mut group = null_mut();
    assert_eq!(c::kdreg_group_create(&raw const attr, &raw mut group), 0);
    group
}

/// Two caches of a group, used in turn: `group`, a miss, for which what was used longest
/// ago in both goes; `group-evict`, what is registered as by `miss`, and `kdreg_group_evict`.
pub fn shared(regions: usize, operations: usize, kind: &str) -> Duration {
    let group = group_of(if kind == "group" { regions } else { 0 });
    let caches = [(); 2].map(|()| cache_of(Manual::open_unmatched().unwrap().1, 0, group));
    let step = |operation: usize| {
        get_and_put(caches[operation % 2], operation % (regions + 1));
        if kind == "group-evict" {
            assert_eq!(c::kdreg_group_evict(group, PAGE), 1);
        }
    };
    (0..4 * regions).for_each(step);
    let began = Instant::now();
    (0..operations).for_each(step);
    began.elapsed()
}

/// `kdreg_group_create` and `_destroy`.
pub fn made(operations: usize) -> Duration {
    let began = Instant::now();
    for _ in 0..operations {
        assert_eq!(c::kdreg_group_destroy(black_box(group_of(1))), 0);
    }
    began.elapsed()
}

/// For each entry, of a cache that is made, filled, drained and destroyed.
pub fn drained(regions: usize, operations: usize) -> Duration {
    let step = || {
        let cache = cache_of(Manual::open_unmatched().unwrap().1, regions, null_mut());
        (0..regions).for_each(|index| get_and_put(cache, index));
        assert_eq!(c::kdreg_cache_drain(cache, None, null_mut()), 0);
        assert_eq!(c::kdreg_cache_destroy(cache), 0);
    };
    step();
    let began = Instant::now();
    (0..operations / regions).for_each(|_| step());
    began.elapsed()
}

/// Who waits for what is registered ahead.
struct Waiting {
    cache: *mut kdreg_cache_t,
    left: AtomicUsize,
    thread: Thread,
}

unsafe extern "C" fn ready(waiting: *mut c_void, status: c_int, entry: *mut kdreg_entry_t) {
    // SAFETY: what was given with it; it stays until all were told of.
    let waiting = unsafe { &*waiting.cast::<Waiting>() };
    assert_eq!(status, 0);
    assert_eq!(black_box(c::kdreg_cache_put(waiting.cache, entry)), 0);
    // Once none is left, what waits may be gone.
    let thread = waiting.thread.clone();
    if waiting.left.fetch_sub(1, Ordering::Release) == 1 {
        thread.unpark();
    }
}

/// `kdreg_cache_prefetch`, many at a time, of what is registered as by `miss`: both threads'.
pub fn ahead(regions: usize, operations: usize) -> Duration {
    let cache = cache_of(Manual::open_unmatched().unwrap().1, regions, null_mut());
    let with = c::kdreg_get_attr {
        size: size_of::<c::kdreg_get_attr>(),
        access: 1,
        // SAFETY: integers, and a pointer that may be null.
        ..unsafe { std::mem::zeroed() }
    };
    let mut waiting = Waiting {
        cache,
        left: AtomicUsize::new(0),
        thread: thread::current(),
    };
    let mut next = 0;
    let mut step = || {
        waiting.left = AtomicUsize::new(regions);
        let argument = (&raw const waiting).cast_mut().cast();
        for _ in 0..regions {
            let address = start_of(next) as *const _;
            next = (next + 1) % (2 * regions);
            let asked = c::kdreg_cache_prefetch(
                cache,
                address,
                2 * PAGE,
                &raw const with,
                Some(ready),
                argument,
            );
            assert_eq!(black_box(asked), 0);
        }
        while waiting.left.load(Ordering::Acquire) > 0 {
            thread::park();
        }
    };
    (0..4).for_each(|_| step());
    let began = Instant::now();
    (0..operations / regions).for_each(|_| step());
    began.elapsed()
}
