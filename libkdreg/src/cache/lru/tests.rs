// SPDX-License-Identifier: MIT OR Apache-2.0

use super::super::entries::Stamp;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

const ENTRIES: u32 = 40;

/// An order, and what it should say: the stamps of the entries in it.
struct Bed {
    entries: Entries,
    links: EntryLinks,
    lru: Lru,
    _memory: LruMemory,
    stamps: BTreeMap<u32, u64>,
    clock: u64,
}

impl Bed {
    fn new() -> Bed {
        let (entries, links) = Entries::new(ENTRIES as usize).unwrap();
        entries.commit(ENTRIES).unwrap();
        let (memory, lru) = LruMemory::new(ENTRIES as usize).unwrap();
        memory.commit(ENTRIES).unwrap();
        Bed {
            entries,
            links,
            lru,
            _memory: memory,
            stamps: BTreeMap::new(),
            clock: 0,
        }
    }

    /// A stamp of a thread whose clock is `behind` the newest.
    fn stamp(&mut self, behind: u64) -> u64 {
        self.clock += 1;
        // All different: the numbers are.
        let clock = (self.clock << 6).saturating_sub(behind << 6) | self.clock & 63;
        Stamp::at(clock, (self.clock % 60) as usize + 1)
    }

    fn remove(&mut self, entry: u32) {
        self.lru.remove(&mut self.links, entry);
        self.stamps.remove(&entry);
    }

    /// A new entry, or one that is filed again, as by its last put.
    fn file(&mut self, entry: u32, behind: u64, new: bool) {
        self.remove(entry);
        let stamp = self.stamp(behind);
        if new {
            self.lru
                .file_new(&mut self.links, &self.entries, entry, stamp);
        } else {
            self.use_it(entry, stamp);
            self.lru.file(&mut self.links, &self.entries, entry);
        }
        self.stamps.insert(entry, stamp);
    }

    /// What a hit does.
    fn use_it(&mut self, entry: u32, stamp: u64) {
        self.entries.at(entry).stamp.store(stamp, Ordering::Relaxed);
        if let Some(known) = self.stamps.get_mut(&entry) {
            *known = stamp;
        }
    }

    fn hit(&mut self, entry: u32, behind: u64) {
        if let Some(&before) = self.stamps.get(&entry) {
            // Stamps only grow.
            let stamp = self.stamp(behind);
            if stamp > before {
                self.use_it(entry, stamp);
            }
        }
    }

    fn first(&mut self) -> Option<u32> {
        self.lru.first(&mut self.links, &self.entries)
    }

    fn expected(&self) -> Option<u32> {
        let least = self.stamps.iter().min_by_key(|(_, stamp)| **stamp)?;
        Some(*least.0)
    }

    /// Everything there is, in both structures.
    fn members(&self) -> Vec<u32> {
        let mut all: Vec<u32> = self.lru.entries(&self.links).collect();
        all.sort_unstable();
        all
    }
}

proptest! {
    #[test]
    fn yields_entries_by_stamp(
        steps in prop::collection::vec(
            (0u32..7, 0..ENTRIES, prop_oneof![3 => Just(0u64), 1 => 0u64..60]),
            1..400,
        ),
    ) {
        let mut bed = Bed::new();
        for (step, entry, behind) in steps {
            match step {
                0 | 1 => bed.file(entry, 0, true),
                2 => bed.file(entry, behind, false),
                3 | 4 => bed.hit(entry, behind),
                5 => bed.remove(entry),
                _ => prop_assert_eq!(bed.first(), bed.expected()),
            }
            prop_assert_eq!(bed.members(), bed.stamps.keys().copied().collect::<Vec<_>>());
        }
        while let Some(entry) = bed.first() {
            prop_assert_eq!(Some(entry), bed.expected());
            bed.remove(entry);
        }
        prop_assert!(bed.stamps.is_empty());
        prop_assert!(bed.members().is_empty());
    }
}

/// What comes in order needs no heap, in whatever order it goes.
#[test]
fn what_comes_in_order_stays_in_the_queue() {
    let mut bed = Bed::new();
    for entry in 0..ENTRIES {
        bed.file(entry, 0, true);
    }
    for entry in [5, ENTRIES - 1, 20] {
        bed.remove(entry);
        bed.file(entry, 0, true);
    }
    // Used in the order they are in.
    for entry in 0..5 {
        bed.hit(entry, 0);
    }
    assert_eq!(bed.first(), Some(6));
    assert!(bed.lru.heap.first().is_none());
    // Used out of order, and by a thread whose clock lags.
    bed.hit(7, 0);
    bed.hit(6, 0);
    assert_eq!(bed.first(), Some(8));
    assert!(bed.lru.heap.first().is_some());
}

/// Of what comes up soon, the least recently used of each structure are named.
#[test]
fn what_comes_soon_is_of_both_structures() {
    let mut bed = Bed::new();
    for entry in 0..5 {
        bed.file(entry, 0, true);
    }
    let soon = |bed: &Bed, count| {
        let mut all: Vec<u32> = bed.lru.next(&bed.links, count).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(soon(&bed, 2), [0, 1]);
    assert_eq!(bed.lru.prefetch(&bed.links, &bed.entries), Some(0));
    assert_eq!(bed.lru.newest(), bed.stamps[&4]);
    bed.remove(0);
    assert_eq!(bed.lru.prefetch(&bed.links, &bed.entries), Some(1));
    bed.file(0, 0, true);
    assert_eq!(bed.lru.newest(), bed.stamps[&0]);
    // By a thread whose clock lags: the later ones more so.
    for entry in 10..13 {
        bed.file(entry, u64::from(entry) * 2, true);
    }
    let least = bed.first().unwrap();
    assert_eq!(soon(&bed, 1), [1, least]);
    assert_eq!(soon(&bed, 9), [0, 1, 2, 3, 4, 10, 11, 12]);
}
