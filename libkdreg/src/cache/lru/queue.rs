// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entries in a doubly linked list by the stamp they were filed under: added
//! at one end only, taken out anywhere.

use super::super::links::{EntryLinks, Filing};
use crate::interval_tree::NIL;

/// See the module's documentation.
pub(super) struct Queue {
    head: u32,
    tail: u32,
    /// No entry in the queue is filed under a larger stamp; 0 when it is
    /// empty. The tail's own, until that is taken out.
    newest: u64,
}

impl Queue {
    pub const EMPTY: Queue = Queue {
        head: NIL,
        tail: NIL,
        newest: 0,
    };

    /// The entry filed under the smallest stamp.
    #[inline]
    pub fn first(&self) -> Option<u32> {
        (self.head != NIL).then_some(self.head)
    }

    /// The entry after this one.
    #[inline]
    pub fn next(links: &EntryLinks, entry: u32) -> Option<u32> {
        Some(links.after(entry)).filter(|&after| after != NIL)
    }

    /// Every entry, the smallest stamp first.
    pub fn entries(&self, links: &EntryLinks) -> impl Iterator<Item = u32> {
        std::iter::successors(self.first(), |&entry| Queue::next(links, entry))
    }

    /// No entry in the queue is filed under a larger stamp.
    #[inline]
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Adds an entry, filed under a stamp not below `newest`.
    #[inline]
    pub fn append(&mut self, links: &mut EntryLinks, entry: u32, stamp: u64) {
        debug_assert!(self.newest <= stamp);
        self.newest = stamp;
        // What the first entry says it comes after does not matter.
        let before = if self.tail == NIL { entry } else { self.tail };
        links.set_filing(entry, Filing::After(before));
        links.set_after(entry, NIL);
        match self.tail {
            NIL => self.head = entry,
            tail => links.set_after(tail, entry),
        }
        self.tail = entry;
    }

    /// Takes an entry out; `before` is what it says it comes after. What its
    /// links say from here on is up to the caller.
    #[inline]
    pub fn remove(&mut self, links: &mut EntryLinks, entry: u32, before: u32) {
        let after = links.after(entry);
        if entry == self.head {
            // The next one is left to say that it comes after this one: a line
            // of memory less to be written.
            self.head = after;
            if after == NIL {
                *self = Queue::EMPTY;
            }
            return;
        }
        links.set_after(before, after);
        if after == NIL {
            self.tail = before;
        } else {
            links.set_filing(after, Filing::After(before));
        }
    }
}
