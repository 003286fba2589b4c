// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looking for something to evict where most is in use.

use super::super::{Cache, Handle, Held, Options, Registrar};
use crate::barrier::{self, tests::CALLS};
use crate::errno::Errno;
use crate::monitor::manual::Manual;
use crate::range::Range;

const PAGE: usize = 4096;
const ENTRIES: usize = 1000;

struct Nothing;

impl Registrar for Nothing {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        Ok(Handle(range.start()))
    }
    fn deregister(&self, _range: Range, _handle: Handle) {}
}

fn region(index: usize) -> Range {
    Range::new((1 << 32) + index * 4 * PAGE, PAGE).unwrap()
}

fn get(cache: &Cache, index: usize) -> Held<'_> {
    cache.get(region(index), 1).unwrap()
}

/// Another thread owns and holds the entries of the regions of these indices,
/// save `idle`; `then` fills the rest of the cache. How many barriers the miss
/// after that takes. In the end all is put back, and can be evicted.
fn miss_where_others_are_held(
    held: usize,
    idle: Option<usize>,
    then: impl FnOnce(&Cache),
) -> usize {
    let (_manual, monitor) = Manual::open().unwrap();
    let options = Options {
        max_entries: ENTRIES,
        no_reaper: true,
        ..Options::default()
    };
    let cache = Cache::new(&monitor, options, Box::new(Nothing)).unwrap();
    let (ready, go) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    let calls = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Often enough to own them.
            for _ in 0..3 {
                (0..held).for_each(|index| drop(get(&cache, index)));
            }
            let held: Vec<_> = (0..held)
                .filter(|&index| Some(index) != idle)
                .map(|index| get(&cache, index))
                .collect();
            ready.wait();
            go.wait();
            drop(held);
        });
        ready.wait();
        then(&cache);
        let before = CALLS.get();
        drop(get(&cache, ENTRIES));
        let calls = CALLS.get() - before;
        go.wait();
        calls
    });
    let counts = cache.statistics().unwrap();
    let possible = held < ENTRIES || idle.is_some();
    assert_eq!(counts.evictions, u64::from(possible));
    assert_eq!(counts.uncached, u64::from(!possible));
    assert_eq!(counts.in_use, 0);
    // All are filed again.
    for index in ENTRIES..2 * ENTRIES {
        drop(get(&cache, index + 1));
    }
    let counts = cache.statistics().unwrap();
    assert_eq!(counts.entries as usize, ENTRIES);
    assert_eq!(counts.uncached, u64::from(!possible));
    calls
}

#[test]
fn a_barrier_serves_many_entries_in_use() {
    if !barrier::is_available() {
        eprintln!("skipped: membarrier(2) is refused here");
        return;
    }
    let few = 1..ENTRIES / 16;
    let calls = miss_where_others_are_held(ENTRIES, None, |_| {});
    assert!(few.contains(&calls), "{calls} barriers");
    let calls = miss_where_others_are_held(ENTRIES, Some(ENTRIES / 2), |_| {});
    assert!(few.contains(&calls), "{calls} barriers");
    // New entries with later stamps: those that are held come up in the heap.
    let calls = miss_where_others_are_held(ENTRIES / 2, None, |cache| {
        (0..4 * ENTRIES).for_each(|_| drop(get(cache, ENTRIES - 1)));
        (ENTRIES / 2..ENTRIES).for_each(|index| drop(get(cache, index)));
    });
    assert!(few.contains(&calls), "{calls} barriers");
}

/// A single one, as is common.
#[test]
fn one_entry_in_use_takes_one_barrier() {
    if !barrier::is_available() {
        eprintln!("skipped: membarrier(2) is refused here");
        return;
    }
    let calls = miss_where_others_are_held(1, None, |cache| {
        (0..100).for_each(|_| drop(get(cache, ENTRIES - 1)));
        (1..ENTRIES).for_each(|index| drop(get(cache, index)));
    });
    assert_eq!(calls, 1);
}
