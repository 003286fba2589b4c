// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entries in a heap by the stamp they were filed under.
//!
//! The heap is four-ary: half as deep as a binary one, its children in one or
//! two cache lines.

use super::super::links::{EntryLinks, Filing};
use crate::errno::Errno;
use crate::memory::Share;
use crate::reservation::{OnFork, Reservation, Zeroed};
use std::cell::UnsafeCell;

const WIDTH: usize = 4;

/// An entry and the stamp it is filed under, without padding.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
pub(super) struct Filed {
    pub stamp: u64,
    pub entry: u32,
}

#[repr(transparent)]
struct FiledCell(UnsafeCell<Filed>);

// SAFETY: zero is a valid Filed, and it owns nothing.
unsafe impl Zeroed for FiledCell {}
// SAFETY: reached only through `&self`/`&mut self` of the one `Heap`.
unsafe impl Sync for FiledCell {}
// SAFETY: plain data, not tied to a thread.
unsafe impl Send for FiledCell {}

/// Memory for the heap, committed outside the lock.
pub(crate) struct LruMemory(Share<Reservation<FiledCell>>);

impl LruMemory {
    /// Room for `capacity` entries, and the one heap in it.
    pub(super) fn with_heap(capacity: usize) -> Result<(LruMemory, Heap), Errno> {
        let memory = Share::new(Reservation::new(capacity, OnFork::Copy)?)?;
        Ok((LruMemory(memory.clone()), Heap { memory, count: 0 }))
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
pub(super) struct Heap {
    memory: Share<Reservation<FiledCell>>,
    count: usize,
}

impl Heap {
    fn pointer(&self, place: usize) -> *mut Filed {
        debug_assert!(place < self.memory.committed());
        // SAFETY: places are below `count`, or at it while that goes down.
        // What is filed has a slot, and none is given out without room here
        // (`Inner::usable_slots`, `Inner::take_slot`).
        unsafe { self.memory.pointer_unchecked(place as u32).cast() }
    }

    fn at(&self, place: usize) -> Filed {
        // SAFETY: the only heap on this memory, borrowed shared.
        unsafe { *self.pointer(place) }
    }

    fn put(&mut self, links: &mut EntryLinks, place: usize, filed: Filed) {
        // SAFETY: the only heap on this memory, borrowed exclusively.
        unsafe { *self.pointer(place) = filed };
        links.set_filing(filed.entry, Filing::InHeap(place as u32));
    }

    /// The entry filed under the smallest stamp.
    #[inline]
    pub fn first(&self) -> Option<Filed> {
        (self.count > 0).then(|| self.at(0))
    }

    /// Every entry in the heap, roughly the smallest stamp first.
    pub fn entries(&self) -> impl Iterator<Item = u32> {
        (0..self.count).map(|place| self.at(place).entry)
    }

    /// Files an entry that is not in the heap.
    pub fn file(&mut self, links: &mut EntryLinks, filed: Filed) {
        self.count += 1;
        self.rise(links, self.count - 1, filed);
    }

    /// Takes out the entry in `place`. What its links say is up to the caller.
    pub fn remove(&mut self, links: &mut EntryLinks, place: u32) {
        let place = place as usize;
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

    /// Files the first entry again, under another stamp.
    pub fn refile_first(&mut self, links: &mut EntryLinks, stamp: u64) {
        let Filed { entry, .. } = self.at(0);
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
