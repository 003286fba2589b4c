// SPDX-License-Identifier: MIT OR Apache-2.0
//! The eviction order: entries by the stamp they were filed under.
//!
//! A hit only stamps its entry; the order learns of it when the entry comes up
//! first and is filed again under its new stamp. Stamps only grow, so the
//! first entry that comes up with the stamp it was filed under is exactly the
//! least recently used: every other entry's stamp is at least the one it was
//! filed under, which is larger. A hit moves nothing, and costs at most one
//! O(log n) step later. What a shared entry's stamp leaves out are uses since the
//! last miss, after one that it tells of (`sharing`).
//!
//! # Two structures
//! An entry filed under a stamp that is not below any in the queue, as a new
//! one is, goes to the queue's end; any other to the heap. So the queue is in
//! order without anybody's sorting it, and what comes up first is the first of
//! the queue or the first of the heap, whichever was filed under the smaller
//! stamp: all that is said above holds of the two as of one. Where entries are
//! evicted unused the heap stays empty, and evicting is O(1), at the cost of
//! two entries' lines.
//!
//! # The mark
//! An entry that is filed has a mark in its stamp ([`Stamp`]), which a use
//! overwrites. So it is filed under the stamp that it has while that has the
//! mark, and under an older one when it has not; what it was filed under need
//! not be kept.
//!
//! [`Stamp`]: super::entries::Stamp

mod heap;
mod queue;

use super::entries::Entries;
use super::links::{EntryLinks, Filing};
use crate::errno::Errno;
use heap::{Filed, Heap};
use queue::Queue;

pub(crate) use heap::LruMemory;

impl LruMemory {
    /// Room for `capacity` entries, and the one order in it, for the owner to
    /// keep under its lock.
    pub fn new(capacity: usize) -> Result<(LruMemory, Lru), Errno> {
        let (memory, heap) = LruMemory::with_heap(capacity)?;
        let queue = Queue::EMPTY;
        Ok((memory, Lru { queue, heap }))
    }
}

/// See the module's documentation.
pub(crate) struct Lru {
    queue: Queue,
    heap: Heap,
}

impl Lru {
    /// The least recently used entry. What comes up before it and was used
    /// since it was filed is filed again.
    #[inline]
    pub fn first(&mut self, links: &mut EntryLinks, entries: &Entries) -> Option<u32> {
        loop {
            let queued = self.queue.first();
            if let Some(entry) = queued {
                let Some(stamp) = entries.at(entry).filed_stamp() else {
                    self.remove(links, entry);
                    self.file(links, entries, entry);
                    continue;
                };
                if self.heap.first().is_none_or(|top| stamp <= top.stamp) {
                    return queued;
                }
            }
            let Filed { entry, .. } = self.heap.first()?;
            if entries.at(entry).filed_stamp().is_some() {
                return Some(entry);
            }
            self.refile_top(links, entries, entry);
        }
    }

    /// Files the heap's first entry again.
    #[cold]
    fn refile_top(&mut self, links: &mut EntryLinks, entries: &Entries, entry: u32) {
        let stamp = entries.at(entry).file_stamp();
        if stamp < self.queue.newest() {
            self.heap.refile_first(links, stamp);
        } else {
            self.heap.remove(links, 0);
            self.queue.append(links, entry, stamp);
        }
    }

    /// Entries that come up soon, so many of each structure's at most.
    pub fn next<'a>(
        &'a self,
        links: &'a EntryLinks,
        count: usize,
    ) -> impl Iterator<Item = u32> + 'a {
        let heap = self.heap.entries().take(count);
        heap.chain(self.queue.entries(links).take(count))
    }

    /// Every entry in the order: of each structure's roughly the least recently
    /// used first.
    pub fn entries<'a>(&'a self, links: &'a EntryLinks) -> impl Iterator<Item = u32> + 'a {
        self.queue.entries(links).chain(self.heap.entries())
    }

    /// Files an entry that is not filed, under its stamp.
    #[inline]
    pub fn file(&mut self, links: &mut EntryLinks, entries: &Entries, entry: u32) {
        let stamp = entries.at(entry).file_stamp();
        self.file_under(links, entry, stamp);
    }

    /// As `file`, for an entry that nobody can use yet.
    #[inline]
    pub fn file_new(&mut self, links: &mut EntryLinks, entries: &Entries, entry: u32, stamp: u64) {
        entries.at(entry).set_filed_stamp(stamp);
        self.file_under(links, entry, stamp);
    }

    #[inline]
    fn file_under(&mut self, links: &mut EntryLinks, entry: u32, stamp: u64) {
        debug_assert_eq!(links.filing(entry), Filing::None);
        if stamp >= self.queue.newest() {
            self.queue.append(links, entry, stamp);
        } else {
            self.heap.file(links, Filed { stamp, entry });
        }
    }

    /// Takes an entry out, if it is in.
    #[inline]
    pub fn remove(&mut self, links: &mut EntryLinks, entry: u32) {
        match links.filing(entry) {
            Filing::None => return,
            Filing::After(before) => self.queue.remove(links, entry, before),
            Filing::InHeap(place) => self.heap.remove(links, place),
        }
        links.set_filing(entry, Filing::None);
    }

    /// An entry filed under a stamp that is not below this one goes to the
    /// queue.
    #[inline]
    pub fn newest(&self) -> u64 {
        self.queue.newest()
    }

    /// Has the memory brought near that the next calls of `first` will look
    /// at; the entry that comes up next, as far as can be told by what is near
    /// already.
    #[inline]
    pub fn prefetch(&self, links: &EntryLinks, entries: &Entries) -> Option<u32> {
        if let Some(top) = self.heap.first() {
            entries.prefetch(top.entry);
            links.prefetch(top.entry);
        }
        let first = self.queue.first()?;
        // The first one's line was asked for when it was the second.
        if let Some(second) = Queue::next(links, first) {
            entries.prefetch(second);
            links.prefetch(second);
        }
        Some(first)
    }
}

#[cfg(test)]
mod tests;
