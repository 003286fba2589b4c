// SPDX-License-Identifier: MIT OR Apache-2.0
//! What calls of the C interface cost besides getting, finding and putting.

use super::{Duration, Instant, Manual, PAGE, black_box, cache_in_c, ffi, null_mut};
use super::{order, start_of};
use std::ffi::c_void;

/// A call of the C interface on entries that are found, so many times: `with`
/// (`kdreg_cache_get_with` and `_put`), `try` (`kdreg_cache_try_get`), or of one that is held: `hold`
/// (`kdreg_cache_hold` and `_put`), `check` (`kdreg_entry_check`), `pin` (`kdreg_cache_prioritize`).
pub fn on_entries(regions: usize, operations: usize, kind: &str) -> Duration {
    use ffi::cache::{kdreg_cache_get_with as get_with, kdreg_cache_try_get as try_get};
    use ffi::cache::{kdreg_cache_prioritize as pin, kdreg_entry_check as check};
    let (_manual, monitor) = Manual::open().unwrap();
    let cache = cache_in_c(monitor, 0);
    let with = ffi::cache::kdreg_get_attr {
        size: size_of::<ffi::cache::kdreg_get_attr>(),
        access: 1,
        // SAFETY: integers, and a pointer that may be null.
        ..unsafe { std::mem::zeroed() }
    };
    let get = |address: usize, tries: bool| {
        let mut entry = null_mut();
        let address = address as *const _;
        let got = match tries {
            false => get_with(cache, address, 64, &raw const with, &raw mut entry),
            true => try_get(cache, address, 64, &raw const with, &raw mut entry),
        };
        assert_eq!(got, 0);
        entry
    };
    let put = |entry| black_box(ffi::cache::kdreg_cache_put(cache, entry));
    let hold = |entry| black_box(ffi::cache::kdreg_cache_hold(cache, entry));
    let order = order(regions);
    let mut held = Vec::new();
    for round in 0..3 {
        for &index in &order {
            let entry = get(start_of(index), false);
            if round == 2 && !["with", "try"].contains(&kind) {
                held.push(entry);
            } else {
                assert_eq!(put(entry), 0);
            }
        }
    }
    let began = Instant::now();
    for operation in 0..operations {
        let next = operation % regions;
        let address = start_of(order[next]);
        match kind {
            "with" | "try" => _ = put(get(address, kind == "try")),
            "hold" => _ = (hold(held[next]), put(held[next])),
            "pin" => _ = black_box(pin(cache, held[next], 1)),
            _ => _ = black_box(check(cache, held[next], address as _, 64)),
        }
    }
    began.elapsed()
}

/// A new entry that is dropped by whoever holds it, who is told when it is gone, or evicted: what
/// is registered, watched and undone with it included.
pub fn ending(regions: usize, operations: usize, kind: &str) -> Duration {
    unsafe extern "C" fn done(count: *mut c_void) {
        // SAFETY: what was given with it.
        unsafe { *count.cast::<usize>() += 1 };
    }
    let (_manual, monitor) = Manual::open_unmatched().unwrap();
    let cache = cache_in_c(monitor, 0);
    let mut gone = 0_usize;
    let mut step = |index: usize| {
        let mut entry = null_mut();
        let address = start_of(index) as *const _;
        let got = ffi::cache::kdreg_cache_get(cache, address, 2 * PAGE, 1, &raw mut entry);
        assert_eq!(got, 0);
        if kind == "drop" {
            let count = (&raw mut gone).cast();
            black_box(ffi::cache::kdreg_cache_drop(
                cache,
                entry,
                Some(done),
                count,
            ));
        }
        black_box(ffi::cache::kdreg_cache_put(cache, entry));
        if kind == "evict" {
            assert_eq!(ffi::cache::kdreg_cache_evict(cache, PAGE), 1);
        }
    };
    (0..regions).for_each(&mut step);
    let began = Instant::now();
    (0..operations).for_each(|operation| step(operation % regions));
    let spent = began.elapsed();
    assert_eq!(
        gone,
        if kind == "drop" {
            regions + operations
        } else {
            0
        }
    );
    spent
}

/// What a cache and its entries tell: each of them (an operation is one), a caller's bytes, the
/// capabilities, and what else it is.
pub fn asking(regions: usize, operations: usize, kind: &str) -> Duration {
    unsafe extern "C" fn visit(count: *mut c_void, _: *mut ffi::kdreg_entry_t) -> i32 {
        // SAFETY: what was given with it.
        unsafe { *count.cast::<usize>() += 1 };
        0
    }
    let (_manual, monitor) = Manual::open_unmatched().unwrap();
    let cache = cache_in_c(monitor, 0);
    let mut entry = null_mut();
    for index in 0..regions {
        let address = start_of(index) as *const _;
        let got = ffi::cache::kdreg_cache_get(cache, address, 2 * PAGE, 1, &raw mut entry);
        assert_eq!(got, 0);
        assert_eq!(ffi::cache::kdreg_cache_put(cache, entry), 0);
    }
    let mut seen = 0_usize;
    let began = Instant::now();
    match kind {
        "each" => {
            for _ in 0..operations / regions {
                let count = (&raw mut seen).cast();
                assert_eq!(ffi::cache::kdreg_cache_each(cache, Some(visit), count), 0);
            }
            assert_eq!(seen, operations / regions * regions);
        }
        "data" => (0..operations).for_each(|_| {
            black_box(ffi::cache::kdreg_entry_data(black_box(entry)));
        }),
        "info" => (0..operations).for_each(|_| {
            // SAFETY: integers.
            let mut info: ffi::cache::kdreg_cache_info = unsafe { std::mem::zeroed() };
            info.size = size_of::<ffi::cache::kdreg_cache_info>();
            assert_eq!(ffi::cache::kdreg_cache_info(cache, &raw mut info), 0);
        }),
        _ => (0..operations).for_each(|_| {
            black_box(ffi::cache::kdreg_cache_caps(black_box(cache)));
        }),
    }
    began.elapsed()
}

/// `kdreg_add_log` and `_remove_log`.
pub fn listening(operations: usize) -> Duration {
    unsafe extern "C" fn hear(_: *mut c_void, _: i32, _: *const std::ffi::c_char) {}
    let began = Instant::now();
    for _ in 0..operations {
        assert_eq!(ffi::library::kdreg_add_log(Some(hear), null_mut(), 1), 0);
        assert_eq!(ffi::library::kdreg_remove_log(Some(hear), null_mut()), 0);
    }
    began.elapsed()
}
