// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;
use crate::cache::{Cache, Handle, Options, Registrar};
use crate::monitor::Monitor;
use crate::monitor::manual::{Manual, Share};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

const PAGE: usize = 4096;
const ACCESS: u32 = 1;

/// Calls of register, and of deregister.
#[derive(Clone, Default)]
struct Counts(Arc<[AtomicUsize; 2]>);

impl Registrar for Counts {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        self.0[0].fetch_add(1, Ordering::Relaxed);
        Ok(Handle(range.start()))
    }
    fn deregister(&self, _range: Range, _handle: Handle) {
        self.0[1].fetch_add(1, Ordering::Relaxed);
    }
}

struct Bed {
    manual: Share<Manual>,
    cache: Cache,
    counts: Counts,
}

impl Bed {
    fn new() -> Bed {
        Bed::on(Manual::open().unwrap())
    }

    fn on((manual, monitor): (Share<Manual>, Monitor)) -> Bed {
        let options = Options {
            no_reaper: true,
            ..Options::default()
        };
        let counts = Counts::default();
        let cache = Cache::new(&monitor, options, Box::new(counts.clone())).unwrap();
        Bed {
            manual,
            cache,
            counts,
        }
    }

    fn counts(&self) -> [usize; 2] {
        [0, 1].map(|which| self.counts.0[which].load(Ordering::Relaxed))
    }

    /// Whether a hit in a straight line finds it.
    fn hits(&self, range: Range, access: u32) -> bool {
        let inner = self.cache.inner();
        let found = inner.hit(range.start(), range.len(), access);
        found.inspect(|entry| inner.put(entry)).is_some()
    }

    /// The same, where it may take the long way before: whose the entry is and where
    /// it is noted is learnt there, and what the time is.
    fn comes_to_hit(&self, range: Range, access: u32) -> bool {
        (0..8).any(|_| self.cache.find(range, access).is_ok() && self.hits(range, access))
    }

    fn is_valid(&self, held: &Held<'_>) -> bool {
        self.cache.inner().is_valid_entry(held.entry)
    }
}

fn pages(first: usize, count: usize) -> Range {
    Range::new(0x10_0000_0000 + first * PAGE, count * PAGE).unwrap()
}

#[test]
fn a_hit_is_of_these_bytes_with_these_rights_and_unchanged() {
    for opened in [Manual::open(), Manual::open_guarded()] {
        let bed = Bed::on(opened.unwrap());
        let range = pages(0, 2);
        assert!(!bed.hits(range, ACCESS));
        drop(bed.cache.get(range, ACCESS).unwrap());
        assert!(bed.comes_to_hit(range, ACCESS) && bed.hits(pages(0, 1), ACCESS));
        assert!(!bed.hits(pages(0, 3), ACCESS) && !bed.hits(range, ACCESS << 1));
        bed.manual.change(pages(7, 1));
        assert!(bed.hits(range, ACCESS));
        bed.manual.change(pages(1, 1));
        assert!(!bed.hits(range, ACCESS) && !bed.hits(pages(0, 1), ACCESS));
        assert_eq!(bed.cache.find(range, ACCESS).err(), Some(Errno::ENOENT));
        drop(bed.cache.get(range, ACCESS).unwrap());
        assert_eq!(bed.counts(), [2, 1]);
        assert!(bed.comes_to_hit(range, ACCESS));
        // Not by what another thread owns.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert!(!bed.hits(range, ACCESS));
                assert!(bed.cache.find(range, ACCESS).is_ok());
            });
        });
    }
}

#[test]
fn what_is_held_says_whether_it_changed() {
    let bed = Bed::new();
    let range = pages(0, 2);
    let held = bed.cache.get(range, ACCESS).unwrap();
    assert!(bed.is_valid(&held));
    let entry: *const Entry = held.entry;
    assert!(!bed.cache.inner().is_valid_entry(entry.wrapping_byte_add(1)));
    bed.manual.change(pages(2, 1));
    assert!(bed.is_valid(&held));
    bed.manual.change(pages(1, 1));
    assert!(!bed.is_valid(&held));
    drop(held);
    let held = bed.cache.get(range, ACCESS).unwrap();
    let entry: *const Entry = held.entry;
    drop(held);
    assert!(!bed.cache.inner().is_valid_entry(entry), "nobody holds it");
}

#[test]
fn who_holds_what_is_invalidated_is_told() {
    let bed = Bed::new();
    let held = bed.cache.get(pages(0, 2), ACCESS).unwrap();
    let beside = bed.cache.get(pages(8, 2), ACCESS).unwrap();
    assert_eq!(bed.cache.invalidate(pages(1, 1)), Ok(1));
    assert!(!bed.is_valid(&held) && bed.is_valid(&beside));
    // What cannot be found any more, and has not changed by that, still can.
    assert_eq!(bed.cache.flush(), Ok(1));
    assert!(bed.is_valid(&beside));
    assert_eq!(bed.cache.invalidate(pages(0, 8)), Ok(0));
    assert!(bed.is_valid(&beside));
    assert_eq!(bed.cache.flush(), Ok(0));
    assert!(bed.is_valid(&beside));
    assert_eq!(bed.cache.invalidate(pages(9, 1)), Ok(0));
    assert!(!bed.is_valid(&beside));
    assert_eq!(bed.counts(), [2, 0]);
    drop((held, beside));
    assert_eq!(bed.counts(), [2, 2]);
    let dropped = bed.cache.get(pages(0, 2), ACCESS).unwrap();
    let inner = bed.cache.inner();
    inner.drop_checked(dropped.entry, None).unwrap();
    assert!(bed.is_valid(&dropped));
    assert_eq!(
        bed.cache.find(pages(0, 2), ACCESS).err(),
        Some(Errno::ENOENT)
    );
    assert_eq!(bed.cache.invalidate(pages(0, 1)), Ok(0));
    assert!(!bed.is_valid(&dropped));
}

#[test]
fn all_that_overlap_are_dropped() {
    for many in [1, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH, 2 * BATCH + 3] {
        let bed = Bed::new();
        // One apart, or they were merged.
        for n in 0..many {
            drop(bed.cache.get(pages(2 * n, 1), ACCESS).unwrap());
        }
        let beside = pages(2 * many + 2, 1);
        drop(bed.cache.get(beside, ACCESS).unwrap());
        assert_eq!(bed.cache.invalidate(pages(0, 2 * many)), Ok(many));
        assert_eq!(bed.counts(), [many + 1, many]);
        let left = |n| bed.cache.find(pages(2 * n, 1), ACCESS).is_ok();
        assert!(!(0..many).any(left));
        assert!(bed.cache.find(beside, ACCESS).is_ok());
    }
}

#[test]
fn what_a_larger_one_takes_the_place_of_is_released() {
    let bed = Bed::new();
    drop(bed.cache.get(pages(1, 1), ACCESS).unwrap());
    drop(bed.cache.get(pages(0, 4), ACCESS).unwrap());
    assert_eq!(bed.counts(), [2, 1]);
    assert!(bed.cache.find(pages(1, 1), ACCESS).is_ok());
}

#[test]
fn as_much_is_evicted_as_was_asked_for() {
    let bed = Bed::new();
    for n in 0..5 {
        drop(bed.cache.get(pages(2 * n, 1), ACCESS).unwrap());
    }
    let evict = |bytes| bed.cache.inner().evict(bytes);
    assert_eq!((evict(0), evict(PAGE)), (Ok(0), Ok(1)));
    assert_eq!((evict(PAGE + 1), evict(usize::MAX)), (Ok(2), Ok(2)));
    assert_eq!(bed.counts(), [5, 5]);
}

#[test]
fn what_was_drained_says_so() {
    let bed = Bed::new();
    drop(bed.cache.get(pages(0, 1), ACCESS).unwrap());
    assert!(!bed.cache.is_draining());
    bed.cache.inner().drain(None).unwrap();
    assert!(bed.cache.is_draining());
    assert_eq!(bed.counts(), [1, 1]);
    assert_eq!(
        bed.cache.find(pages(0, 1), ACCESS).err(),
        Some(Errno::ESHUTDOWN)
    );
}
