// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finding an entry, using it, putting it back: the hit path.

use super::Inner;
use super::entries::{Entry, List, Stamp};
use super::refs::{BATCH, Held, NOBODY, Put};
use super::sharing::put_shared;
use super::state::{Cause, Request, State};
use crate::errno::Errno;
use crate::range::Range;
use crate::threads;
use std::mem::MaybeUninit;
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
    #[inline(always)]
    pub(super) fn find_fast(&self, range: Range, access: u32) -> Option<&Entry> {
        // The common case in a straight line: the first place looked at, and
        // an entry of the calling thread's.
        if let Some(index) = self.front.first(range.start()) {
            // SAFETY: the front index holds indices of this cache only.
            let entry = unsafe { self.entries.at_unchecked(index) };
            let serves = || entry.serves(range, access);
            if let Some(number) = entry.refs.take_own(threads::caller(), serves) {
                if self.is_current(entry) {
                    self.touch_own(entry, usize::from(number));
                    return Some(entry);
                }
                self.put(entry);
            } else if self.take_elsewhere(entry, range, access) {
                return Some(entry);
            }
        }
        self.find_noted(range, access)
    }

    /// As `find_fast`, in all places. Small, so that finding nothing costs
    /// little where nothing is expected.
    #[inline(never)]
    fn find_noted(&self, range: Range, access: u32) -> Option<&Entry> {
        if self.options.bypass && !self.front.mentions(range.start()) {
            return None;
        }
        self.find_among_noted(range, access)
    }

    #[inline(never)]
    fn find_among_noted(&self, range: Range, access: u32) -> Option<&Entry> {
        self.front.find(range.start(), |index| {
            // SAFETY: the front index holds indices of this cache only.
            let entry = unsafe { self.entries.at_unchecked(index) };
            let serves = || entry.serves(range, access);
            let Some(number) = entry.refs.take_own(threads::caller(), serves) else {
                return self.take_elsewhere(entry, range, access).then_some(entry);
            };
            if self.is_current(entry) {
                self.touch_own(entry, usize::from(number));
                return Some(entry);
            }
            self.put(entry);
            None
        })
    }

    /// As `find_fast` for one entry, by a thread that is not its owner.
    #[inline(never)]
    fn take_elsewhere(&self, entry: &Entry, range: Range, access: u32) -> bool {
        // A first look without a reference, to leave other entries' lines
        // alone; it may read a mixture and proves nothing.
        entry.serves(range, access)
            && (entry.refs.is_shared() && self.take_shared(entry, range, access)
                || self.take_foreign(entry, range, access))
    }

    /// As `find_fast` for one entry, by a thread that does not count by itself.
    fn take_foreign(&self, entry: &Entry, range: Range, access: u32) -> bool {
        match entry.refs.take() {
            // With the reference the fields hold still: look again.
            Ok(()) if entry.serves(range, access) && self.is_current(entry) => {
                let number = threads::number();
                let last = entry.stamp.load(Ordering::Relaxed);
                self.touch(entry, number);
                self.used_by_another(entry, number, last);
                true
            }
            Ok(()) => {
                self.put(entry);
                false
            }
            Err(put) => {
                self.after_put(entry, put);
                false
            }
        }
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
            if let Some(found) = self.use_found(range, index) {
                return Ok(found);
            }
        }
    }

    /// Makes use of an entry that the tree held, with a reference taken on it.
    /// `None`: it had changed, and is gone.
    pub(super) fn use_found(&self, range: Range, index: u32) -> Option<Found> {
        let entry = self.entries.at(index);
        if self.is_current(entry) {
            self.touch(entry, threads::number());
            self.note(range, index);
            return Some(Found::Entry(index));
        }
        let changed = entry.has_changed();
        if changed {
            self.drop_entry(index, Cause::Invalidated);
        }
        self.put(entry);
        (!changed).then_some(Found::Unproven)
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

    /// Records a use by the thread of this number: the entry's stamp, and the
    /// thread's count of hits.
    ///
    /// Each thread has a clock of its own, so that stamping shares no cache
    /// line between threads. Seen from one thread stamps are in exact order;
    /// between threads they are as close as the last miss.
    #[inline]
    pub(super) fn touch(&self, entry: &Entry, number: usize) {
        if number != threads::SHARED_NUMBER {
            return self.touch_own(entry, number);
        }
        let shard = &self.shards[number];
        shard.hits.fetch_add(1, Ordering::Relaxed);
        shard
            .clock
            .fetch_max(self.epoch.load(Ordering::Relaxed), Ordering::Relaxed);
        let clock = shard.clock.fetch_add(1, Ordering::Relaxed) + 1;
        entry
            .stamp
            .store(Stamp::at(clock, number), Ordering::Relaxed);
    }

    /// As `touch`, for a number that is the thread's own: no other thread
    /// writes its shard.
    #[inline(always)]
    fn touch_own(&self, entry: &Entry, number: usize) {
        let stamp = self.count_hit(number);
        // A racing touch may leave the older of two stamps; both are recent.
        entry.stamp.store(stamp, Ordering::Relaxed);
    }

    /// Counts a hit of the thread that this number is its own; returns its
    /// stamp.
    #[inline(always)]
    pub(super) fn count_hit(&self, number: usize) -> u64 {
        let shard = &self.shards[number];
        shard
            .hits
            .store(shard.hits.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        let epoch = self.epoch.load(Ordering::Relaxed);
        let clock = shard.clock.load(Ordering::Relaxed).max(epoch) + 1;
        shard.clock.store(clock, Ordering::Relaxed);
        Stamp::at(clock, number)
    }

    /// The next stamp of the calling thread's clock, by the thread's number,
    /// which also becomes the epoch that the other threads' clocks do not fall
    /// behind: later than any that an entry in `state`'s queue is filed under.
    pub(super) fn tick(&self, state: &State, number: usize) -> u64 {
        let shard = &self.shards[number];
        let epoch = self
            .epoch
            .load(Ordering::Relaxed)
            .max(Stamp::clock(state.lru.newest()));
        let clock = if number == threads::SHARED_NUMBER {
            shard.clock.fetch_max(epoch, Ordering::Relaxed);
            shard.clock.fetch_add(1, Ordering::Relaxed) + 1
        } else {
            let clock = shard.clock.load(Ordering::Relaxed).max(epoch) + 1;
            shard.clock.store(clock, Ordering::Relaxed);
            clock
        };
        // Written under the lock only. Relaxed: a clock that misses it is late
        // by one miss.
        self.epoch.store(clock, Ordering::Relaxed);
        Stamp::at(clock, number)
    }

    /// Puts a reference back.
    #[inline]
    pub(crate) fn put(&self, entry: &Entry) {
        if !entry.refs.put_own(threads::caller()) {
            self.put_elsewhere(entry);
        }
    }

    /// As `put`, by a thread that is not the entry's owner.
    #[inline(never)]
    fn put_elsewhere(&self, entry: &Entry) {
        if put_shared(entry) {
            return;
        }
        match entry.refs.put() {
            Put::Done => self.put_back_elsewhere(entry),
            put => self.after_put(entry, put),
        }
    }

    /// Puts back a reference that a C caller claims to hold.
    #[inline]
    pub(crate) fn put_checked(&self, entry: *const Entry) -> Result<(), Errno> {
        let entry = self.entries.find(entry).ok_or(Errno::EINVAL)?;
        if entry.refs.put_own(threads::caller()) {
            Ok(())
        } else {
            self.put_checked_elsewhere(entry)
        }
    }

    /// As `put_checked`, by a thread that is not the entry's owner.
    #[inline(never)]
    fn put_checked_elsewhere(&self, entry: &Entry) -> Result<(), Errno> {
        if put_shared(entry) {
            return Ok(());
        }
        let held = match entry.refs.held(threads::owners()) {
            Held::Perhaps => {
                self.home.check()?;
                let _state = self.state.lock();
                entry.refs.revoke(threads::caller());
                entry.refs.reopen(NOBODY);
                entry.refs.held(threads::owners())
            }
            known => known,
        };
        if held == Held::No {
            return Err(Errno::EINVAL);
        }
        match entry.refs.put() {
            Put::Done => {
                self.put_back_elsewhere(entry);
                Ok(())
            }
            Put::NotHeld => Err(Errno::EINVAL),
            put => {
                self.after_put(entry, put);
                Ok(())
            }
        }
    }

    /// Does what the last put of an entry owes.
    #[cold]
    fn after_put(&self, entry: &Entry, put: Put) {
        match put {
            Put::Done | Put::NotHeld => {}
            Put::Detached => {
                if self.home.is_here() && entry.refs.claim_detached() {
                    self.release_soon(self.entries.index_of(entry));
                }
            }
            Put::Unfiled => {
                if self.home.is_here() {
                    let mut state = self.state.lock();
                    if entry.refs.file() {
                        state.file(&self.entries, self.entries.index_of(entry));
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
                let mut room = [MaybeUninit::uninit(); BATCH];
                let batch = state.overlapping(&self.entries, range, &mut room);
                if batch.is_empty() {
                    return dropped;
                }
                state.drop_all(&self.entries, batch, cause, &mut retired);
                dropped += batch.len();
            }
            self.release(retired);
            if dropped - before < BATCH {
                return dropped;
            }
        }
    }

    /// Whether any reference is out.
    pub(super) fn any_in_use(&self) -> bool {
        let used = self.state.lock().used_slots();
        (0..used).any(|index| self.is_in_use(index))
    }

    /// Whether a reference on an entry is out. Not fooled by another thread,
    /// perhaps the reaper, that ends the entry's ownership this moment: where
    /// a reference of the owner's was put back by others, the two counts are
    /// for that time more than what is out.
    pub(super) fn is_in_use(&self, index: u32) -> bool {
        let refs = &self.entries.at(index).refs;
        refs.in_use(threads::owners()) && {
            // Ownerships are ended under the lock.
            let _state = self.state.lock();
            refs.in_use(threads::owners())
        }
    }

    /// Whether the entry a C caller holds is still valid.
    pub(crate) fn is_valid_entry(&self, entry: *const Entry) -> bool {
        self.entries.find(entry).is_some_and(|entry| {
            entry.refs.held(threads::owners()) != Held::No && self.is_current(entry)
        })
    }
}
