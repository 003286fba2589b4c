// SPDX-License-Identifier: MIT OR Apache-2.0
//! The eviction order: a heap of entries by the stamp they were filed under.
//!
//! A hit only stamps its entry; the heap learns of it when the entry comes to
//! the top and is filed again under its new stamp. Stamps only grow, so the
//! first entry found on top with the stamp it was filed under is exactly the
//! least recently used: every other entry's stamp is at least the one it was
//! filed under, which is larger. A hit moves nothing, and costs at most one
//! O(log n) step later.
//!
//! The heap is four-ary: half as deep as a binary one, its children in one or
//! two cache lines.

use super::entries::EntryLinks;
use crate::errno::Errno;
use crate::reservation::{OnFork, Reservation, Zeroed};
use std::cell::UnsafeCell;
use std::sync::Arc;

const WIDTH: usize = 4;

/// An entry and the stamp it is filed under, without padding.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
struct Filed {
    stamp: u64,
    entry: u32,
}

#[repr(transparent)]
struct FiledCell(UnsafeCell<Filed>);

// SAFETY: zero is a valid Filed, and it owns nothing.
unsafe impl Zeroed for FiledCell {}
// SAFETY: reached only through `&self`/`&mut self` of the one `Lru`.
unsafe impl Sync for FiledCell {}
// SAFETY: plain data, not tied to a thread.
unsafe impl Send for FiledCell {}

/// Memory for the heap, committed outside the lock.
pub(crate) struct LruMemory(Arc<Reservation<FiledCell>>);

impl LruMemory {
    /// Room for `capacity` entries, and the one heap in it, for the owner to
    /// keep under its lock.
    pub fn new(capacity: usize) -> Result<(LruMemory, Lru), Errno> {
        let memory = Arc::new(Reservation::new(capacity, OnFork::Copy)?);
        Ok((LruMemory(memory.clone()), Lru { memory, count: 0 }))
    }

    /// How many entries there is room for.
    pub fn committed(&self) -> u32 {
        self.0.committed() as u32
    }

    /// Makes room for `count` entries.
    pub fn commit(&self, count: u32) -> Result<(), Errno> {
        self.0.commit(count as usize)
    }
}

/// See the module's documentation.
pub(crate) struct Lru {
    memory: Arc<Reservation<FiledCell>>,
    count: usize,
}

impl Lru {
    fn pointer(&self, place: usize) -> *mut Filed {
        debug_assert!(place < self.memory.committed());
        // SAFETY: places are below `count`, or at it while that goes down.
        // What is filed has a slot, and none is given out without room here
        // (`Inner::take_slot`).
        unsafe { self.memory.pointer_unchecked(place as u32).cast() }
    }

    fn at(&self, place: usize) -> Filed {
        // SAFETY: the only heap on this memory, borrowed shared.
        unsafe { *self.pointer(place) }
    }

    fn put(&mut self, links: &mut EntryLinks, place: usize, filed: Filed) {
        // SAFETY: the only heap on this memory, borrowed exclusively.
        unsafe { *self.pointer(place) = filed };
        links.set_heap(filed.entry, place as u32 + 1);
    }

    /// The entry filed under the smallest stamp.
    pub fn first(&self) -> Option<(u32, u64)> {
        (self.count > 0).then(|| {
            let filed = self.at(0);
            (filed.entry, filed.stamp)
        })
    }

    /// Every entry in the heap, roughly the least recently used first.
    pub fn entries(&self) -> impl Iterator<Item = u32> {
        (0..self.count).map(|place| self.at(place).entry)
    }

    /// Files an entry that is not in the heap.
    pub fn file(&mut self, links: &mut EntryLinks, entry: u32, stamp: u64) {
        debug_assert_eq!(links.heap(entry), 0);
        self.count += 1;
        self.rise(links, self.count - 1, Filed { stamp, entry });
    }

    /// Takes an entry out, if it is in.
    pub fn remove(&mut self, links: &mut EntryLinks, entry: u32) {
        let Some(place) = (links.heap(entry) as usize).checked_sub(1) else {
            return;
        };
        links.set_heap(entry, 0);
        self.count -= 1;
        if place < self.count {
            let last = self.at(self.count);
            if place > 0 && last.stamp < self.at((place - 1) / WIDTH).stamp {
                self.rise(links, place, last);
            } else {
                self.sink(links, place, last);
            }
        }
    }

    /// Files the first entry again, under a larger stamp.
    pub fn refile_first(&mut self, links: &mut EntryLinks, stamp: u64) {
        let Filed {
            entry,
            stamp: before,
        } = self.at(0);
        debug_assert!(before <= stamp);
        self.sink(links, 0, Filed { stamp, entry });
    }

    fn rise(&mut self, links: &mut EntryLinks, mut place: usize, filed: Filed) {
        while place > 0 {
            let parent = (place - 1) / WIDTH;
            let above = self.at(parent);
            if above.stamp <= filed.stamp {
                break;
            }
            self.put(links, place, above);
            place = parent;
        }
        self.put(links, place, filed);
    }

    fn sink(&mut self, links: &mut EntryLinks, mut place: usize, filed: Filed) {
        loop {
            let children = place * WIDTH + 1..(place * WIDTH + 1 + WIDTH).min(self.count);
            let Some(least) = children.min_by_key(|&child| self.at(child).stamp) else {
                break;
            };
            let below = self.at(least);
            if filed.stamp <= below.stamp {
                break;
            }
            self.put(links, place, below);
            place = least;
        }
        self.put(links, place, filed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::entries::Entries;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn yields_entries_by_stamp(steps in prop::collection::vec((0u32..40, any::<bool>()), 1..400)) {
            let (entries, mut links) = Entries::new(64).unwrap();
            entries.commit(64).unwrap();
            let (memory, mut lru) = LruMemory::new(64).unwrap();
            memory.commit(64).unwrap();
            let mut model = std::collections::BTreeMap::new();
            for (stamp, (entry, remove)) in (1u64..).zip(steps) {
                if remove {
                    lru.remove(&mut links, entry);
                    model.remove(&entry);
                } else {
                    lru.remove(&mut links, entry);
                    lru.file(&mut links, entry, stamp);
                    model.insert(entry, stamp);
                }
                let least = model.iter().min_by_key(|(_, s)| **s).map(|(e, s)| (*e, *s));
                prop_assert_eq!(lru.first(), least);
            }
            while let Some((entry, stamp)) = lru.first() {
                prop_assert_eq!(model.values().copied().min(), Some(stamp));
                lru.remove(&mut links, entry);
                model.remove(&entry);
            }
            prop_assert!(model.is_empty());
        }
    }
}
