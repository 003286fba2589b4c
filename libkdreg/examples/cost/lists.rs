// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a range costs that is one of a list.

use super::{Duration, Instant, Manual, PAGE, black_box, cache_in_c, ffi, null_mut};
use super::{order, start_of};

/// Ranges of a list.
const LIST: usize = 20;

/// `struct iovec`.
#[repr(C)]
struct Vector {
    base: usize,
    length: usize,
}

/// `kdreg_cache_getv` and `_putv` of so many ranges, [`LIST`] at a time: found, or
/// where it `misses`, registered in the place of those that were used longest ago.
pub fn scattered(regions: usize, operations: usize, misses: bool) -> Duration {
    let (_manual, monitor) = Manual::open_unmatched().unwrap();
    let cache = cache_in_c(monitor, regions);
    assert_eq!(regions % LIST, 0);
    let all = regions + if misses { LIST } else { 0 };
    let list: Vec<Vector> = (order(all).into_iter())
        .map(|index| Vector {
            base: start_of(index),
            length: 2 * PAGE,
        })
        .collect();
    let mut lists = list.chunks(LIST).cycle();
    let mut step = || {
        let list = lists.next().unwrap().as_ptr().cast();
        let mut entries = [null_mut(); LIST];
        let got = ffi::cache::kdreg_cache_getv(cache, list, LIST, 1, entries.as_mut_ptr());
        let put = ffi::cache::kdreg_cache_putv(cache, entries.as_ptr(), LIST);
        assert_eq!(black_box((got, put)), (0, 0));
    };
    (0..3 * all / LIST).for_each(|_| step());
    let began = Instant::now();
    (0..operations / LIST).for_each(|_| step());
    began.elapsed()
}
