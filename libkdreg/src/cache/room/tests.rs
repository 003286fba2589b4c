// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looking for something to evict where most is in use.

use super::super::{Cache, Handle, Options, Registrar};
use super::*;
use crate::barrier::{self, tests::CALLS};
use crate::errno::Errno;
use crate::monitor::manual::Manual;

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

/// A miss in a full cache, of which another thread owns all entries and holds
/// all but the last: in how many barriers. Then everything is put back, and can
/// be evicted.
fn miss_where_all_but_is_held(idle: Option<usize>) -> usize {
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
                (0..ENTRIES).for_each(|index| drop(cache.get(region(index), 1).unwrap()));
            }
            let held: Vec<_> = (0..ENTRIES)
                .filter(|&index| Some(index) != idle)
                .map(|index| cache.get(region(index), 1).unwrap())
                .collect();
            ready.wait();
            go.wait();
            drop(held);
        });
        ready.wait();
        let before = CALLS.get();
        drop(cache.get(region(ENTRIES), 1).unwrap());
        let calls = CALLS.get() - before;
        go.wait();
        calls
    });
    let counts = cache.statistics().unwrap();
    assert_eq!(counts.evictions, u64::from(idle.is_some()));
    assert_eq!(counts.uncached, u64::from(idle.is_none()));
    assert_eq!(counts.in_use, 0);
    // All are filed again.
    for index in ENTRIES..2 * ENTRIES {
        drop(cache.get(region(index + 1), 1).unwrap());
    }
    let counts = cache.statistics().unwrap();
    assert_eq!(counts.entries as usize, ENTRIES);
    assert_eq!(counts.uncached, u64::from(idle.is_none()));
    calls
}

#[test]
fn a_barrier_serves_many_entries_in_use() {
    if barrier::is_available() {
        let calls = miss_where_all_but_is_held(None);
        assert!((1..ENTRIES / 16).contains(&calls), "{calls} barriers");
        let calls = miss_where_all_but_is_held(Some(ENTRIES / 2));
        assert!((1..ENTRIES / 16).contains(&calls), "{calls} barriers");
    }
}
