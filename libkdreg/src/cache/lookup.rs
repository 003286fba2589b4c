// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finding an entry, using it, putting it back: the hit path.

use super::Inner;
use super::entries::{Entry, List};
use super::refs::Put;
use super::state::{Cause, Request};
use crate::errno::Errno;
use crate::range::Range;
use crate::threads;
use std::sync::atomic::Ordering;

/// What the tree holds for a request.
pub(super) enum Found {
    /// An entry, in use by the caller.
    Entry(u32),
    /// None that is still valid.
    Nothing,
    /// One that could not be proven unchanged in time: changes are in flight,
    /// perhaps elsewhere. It stays; this request is better served without it.
    Unproven,
}

impl Inner {
    /// A reference on an entry that serves the request, by way of the front
    /// index. `None` says nothing about what the cache holds.
    #[inline]
    pub(super) fn find_fast(&self, range: Range, access: u32) -> Option<u32> {
        for index in self.front.candidates(range.start()) {
            // SAFETY: the front index holds indices of this cache only.
            let entry = unsafe { self.entries.at_unchecked(index) };
            // A first look without a reference, to leave other entries' lines
            // alone; it may read a mixture and proves nothing.
            if !entry.serves(range, access) {
                continue;
            }
            match entry.refs.take() {
                // With the reference the fields hold still: look again.
                Ok(()) if entry.serves(range, access) && self.is_current(entry) => {
                    self.touch(entry);
                    return Some(index);
                }
                Ok(()) => self.put(index),
                Err(put) => self.after_put(index, put),
            }
        }
        None
    }

    /// As `find_fast`, by way of the tree: finds whatever the cache holds.
    pub(super) fn find_slow(&self, range: Range, access: u32) -> Result<Found, Errno> {
        self.home.check()?;
        loop {
            let request = Request { range, access };
            let found = self.state.lock().take_serving(&self.entries, request);
            let Some(index) = found else {
                return Ok(Found::Nothing);
            };
            let entry = self.entries.at(index);
            if self.is_current(entry) {
                self.touch(entry);
                self.note(range, index);
                return Ok(Found::Entry(index));
            }
            let changed = entry.has_changed();
            if changed {
                self.drop_entry(index, Cause::Invalidated);
            }
            self.put(index);
            if !changed {
                return Ok(Found::Unproven);
            }
        }
    }

    /// Has the front index lead from an address to the entry that serves it.
    pub(super) fn note(&self, range: Range, index: u32) {
        self.front.note(range.start(), index, |other| {
            self.entries.at(other).refs.is_live()
        });
    }

    /// Whether what the entry maps is still what was registered.
    #[inline]
    pub(super) fn is_current(&self, entry: &Entry) -> bool {
        match entry.word() {
            Some((word, generation)) => self.validity.check(word, generation),
            None => false,
        }
    }

    /// Records a use: the entry's stamp, and the thread's count of hits.
    ///
    /// Each thread has a clock of its own, so that stamping shares no cache
    /// line between threads. Seen from one thread stamps are in exact order;
    /// between threads they are as close as the last miss.
    #[inline]
    fn touch(&self, entry: &Entry) {
        let number = threads::number();
        let shard = &self.shards[number];
        let epoch = self.epoch.load(Ordering::Relaxed);
        let stamp = if number == threads::SHARED_NUMBER {
            shard.hits.fetch_add(1, Ordering::Relaxed);
            shard.clock.fetch_max(epoch, Ordering::Relaxed);
            shard.clock.fetch_add(1, Ordering::Relaxed) + 1
        } else {
            // This thread's own: no other thread writes them.
            shard
                .hits
                .store(shard.hits.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            let stamp = shard.clock.load(Ordering::Relaxed).max(epoch) + 1;
            shard.clock.store(stamp, Ordering::Relaxed);
            stamp
        };
        // A racing touch may leave the older of two stamps; both are recent.
        entry.stamp.store(stamp, Ordering::Relaxed);
    }

    /// The next stamp of the calling thread's clock, which also becomes the
    /// epoch that the other threads' clocks do not fall behind.
    pub(super) fn tick(&self) -> u64 {
        let number = threads::number();
        let shard = &self.shards[number];
        shard
            .clock
            .fetch_max(self.epoch.load(Ordering::Relaxed), Ordering::Relaxed);
        let stamp = shard.clock.fetch_add(1, Ordering::Relaxed) + 1;
        self.epoch.fetch_max(stamp, Ordering::Relaxed);
        stamp
    }

    /// Puts a reference back.
    #[inline]
    pub(crate) fn put(&self, index: u32) {
        let put = self.entries.at(index).refs.put();
        if put != Put::Done {
            self.after_put(index, put);
        }
    }

    /// Puts back a reference that a C caller claims to hold.
    #[inline]
    pub(crate) fn put_checked(&self, entry: *const Entry) -> Result<(), Errno> {
        let index = self.entries.index_of(entry).ok_or(Errno::EINVAL)?;
        let refs = &self.entries.at(index).refs;
        if !refs.in_use() {
            return Err(Errno::EINVAL);
        }
        match refs.put() {
            Put::Done => Ok(()),
            Put::NotHeld => Err(Errno::EINVAL),
            put => {
                self.after_put(index, put);
                Ok(())
            }
        }
    }

    /// Does what the last put of an entry owes.
    #[cold]
    fn after_put(&self, index: u32, put: Put) {
        let refs = &self.entries.at(index).refs;
        match put {
            Put::Done | Put::NotHeld => {}
            Put::Detached => {
                if self.home.is_here() && refs.claim_detached() {
                    self.release_soon(index);
                }
            }
            Put::Unfiled => {
                if self.home.is_here() {
                    let mut state = self.state.lock();
                    if refs.file() {
                        let stamp = self.entries.at(index).stamp.load(Ordering::Relaxed);
                        state.file(index, stamp);
                    }
                }
            }
        }
    }

    /// Ends the findability of one entry, if it is live.
    pub(super) fn drop_entry(&self, index: u32, cause: Cause) {
        let mut retired = List::EMPTY;
        {
            let mut state = self.state.lock();
            if self.entries.at(index).refs.is_live() {
                state.drop_live(&self.entries, index, cause, &mut retired);
            }
        }
        self.release(retired);
    }

    /// Ends the findability of all entries that overlap `range`; returns how
    /// many there were.
    pub(super) fn drop_overlapping(&self, range: Range, cause: Cause) -> usize {
        let mut dropped = 0;
        loop {
            let mut retired = List::EMPTY;
            let before = dropped;
            {
                let mut state = self.state.lock();
                // In batches, to hold the lock for short times.
                while dropped - before < 64
                    && let Some(index) =
                        state
                            .tree
                            .any_overlapping(&state.links, range.start(), range.end())
                {
                    state.drop_live(&self.entries, index, cause, &mut retired);
                    dropped += 1;
                }
            }
            self.release(retired);
            if dropped - before < 64 {
                return dropped;
            }
        }
    }

    /// Whether any reference is out.
    pub(super) fn any_in_use(&self) -> bool {
        let used = self.state.lock().used_slots();
        (0..used).any(|index| self.entries.at(index).refs.in_use())
    }

    /// Whether the entry a C caller holds is still valid.
    pub(crate) fn is_valid_entry(&self, entry: *const Entry) -> bool {
        self.entries.index_of(entry).is_some_and(|index| {
            let entry = self.entries.at(index);
            entry.refs.in_use() && self.is_current(entry)
        })
    }
}
