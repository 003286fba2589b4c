// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a hit costs two threads that are at it at once.

use super::{Cache, Duration, Instant, Manual, Nothing, Options, PAGE, Range};
use super::{black_box, start_of};
use std::sync::atomic::{AtomicU64, Ordering};

/// Two threads, each on regions of its own or both on one; a bare counter to
/// compare with. The time is that of both together.
pub fn at_once(regions: usize, operations: usize, kind: &str) -> Duration {
    let (_manual, monitor) = Manual::open().unwrap();
    let options = Options {
        // What both threads have.
        max_entries: 2 * regions,
        no_reaper: true,
        ..Options::default()
    };
    let cache = Cache::new(&monitor, options, Box::new(Nothing)).unwrap();
    let count = AtomicU64::new(0);
    let ready = std::sync::Barrier::new(2);
    let run = |thread: usize| {
        let range = |index: usize| {
            let index = match kind {
                "two-one" => 0,
                _ => thread * regions + index,
            };
            Range::new(start_of(index), 2 * PAGE).unwrap()
        };
        for index in (0..3).flat_map(|_| 0..regions) {
            drop(cache.get(range(index), 1).unwrap());
        }
        ready.wait();
        let began = Instant::now();
        for operation in 0..operations / 2 {
            if kind == "two-atomics" {
                count.fetch_add(1, Ordering::Acquire);
                count.fetch_sub(1, Ordering::Release);
            } else {
                drop(black_box(cache.get(range(operation % regions), 1).unwrap()));
            }
        }
        began
    };
    let spent = std::thread::scope(|scope| {
        let other = scope.spawn(|| run(1));
        let began = run(0);
        other.join().unwrap();
        began.elapsed()
    });
    // All but the first of each region, by each thread at most, were hits.
    let counts = cache.statistics().unwrap();
    assert!(counts.misses <= 2 * regions as u64, "{counts:?}");
    assert_eq!(counts.evictions, 0);
    spent
}
