// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finding an entry and using it: the hit path. Ending that it is found.

use super::cause::Cause;
use super::entries::Entry;
use super::links::List;
use super::refs::BATCH;
use super::{Held, Inner};
use crate::errno::Errno;
use crate::race_detector::{take_over, unwatched};
use crate::range::Range;
use crate::thread_registry;
use crate::unwinding;
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
    /// A reference on an entry that serves these bytes, if the calling thread is
    /// the entry's owner, the page index leads to it and its word tells that it
    /// is current: a hit in a straight line, which calls nothing and cannot
    /// panic. `None` says nothing about what the cache holds, nor whether the
    /// arguments are any good.
    #[inline(always)]
    pub(crate) fn hit(&self, address: usize, length: usize, access: u32) -> Option<&Entry> {
        let settled = self.validity.settled()?;
        let offset = self.page_index.first(address)?;
        // SAFETY: the page index holds entries of this cache only, or 0.
        let entry = unsafe { self.entries.at_offset(offset) };
        let at = entry.refs.enter_own(thread_registry::caller())?;
        // SAFETY: that is what being at it means.
        if !unsafe { entry.is_hit(settled, (address, length), access) } {
            return None;
        }
        let (shard, stamp) = self.in_step(&at)?;
        let counted = at.one_more()?;
        at.take(counted);
        shard.count_hit(stamp);
        entry.stamp.store(stamp, Ordering::Relaxed);
        Some(entry)
    }

    /// [`Cache::get`](super::Cache::get) where there is no [`hit`](Self::hit).
    #[inline(never)]
    pub(crate) fn get(&self, range: Range, access: u32) -> Result<Held<'_>, Errno> {
        match self.find_noted(range, access) {
            Some(entry) => Ok(self.held(entry)),
            None => Ok(self.held(self.entries.at(self.get_slow(range, access)?))),
        }
    }

    /// [`Cache::find`](super::Cache::find) where there is no [`hit`](Self::hit).
    #[inline(never)]
    pub(crate) fn find(&self, range: Range, access: u32) -> Result<Held<'_>, Errno> {
        match self.find_noted(range, access) {
            Some(entry) => Ok(self.held(entry)),
            None => Ok(self.held(self.entries.at(self.find_slow(range, access)?))),
        }
    }

    #[inline(always)]
    pub(super) fn held<'a>(&'a self, entry: &'a Entry) -> Held<'a> {
        Held { inner: self, entry }
    }

    /// A reference on an entry that serves the request, by way of the page
    /// index, whoever counts. `None` says nothing about what the cache holds.
    #[inline]
    pub(super) fn find_noted(&self, range: Range, access: u32) -> Option<&Entry> {
        let Some(offset) = self.page_index.first(range.start()) else {
            return self.find_beyond_first(range, access);
        };
        // SAFETY: the page index holds entries of this cache only, or 0.
        let entry = unsafe { self.entries.at_offset(offset) };
        if self.take(entry, range, access) {
            return Some(entry);
        }
        self.find_among_noted(range, access)
    }

    #[inline(never)]
    fn find_beyond_first(&self, range: Range, access: u32) -> Option<&Entry> {
        let start = range.start();
        self.page_index
            .find_beyond_first(start, |offset| self.take_at(offset, range, access))
    }

    #[inline(never)]
    fn find_among_noted(&self, range: Range, access: u32) -> Option<&Entry> {
        let start = range.start();
        self.page_index
            .find(start, |offset| self.take_at(offset, range, access))
    }

    /// As `find_noted` for one entry that is noted, by its offset.
    #[inline]
    fn take_at(&self, offset: u32, range: Range, access: u32) -> Option<&Entry> {
        // SAFETY: the page index holds entries of this cache only.
        let entry = unsafe { self.entries.at_offset(offset as usize) };
        self.take(entry, range, access).then_some(entry)
    }

    /// As `find_noted` for one entry.
    #[inline]
    fn take(&self, entry: &Entry, range: Range, access: u32) -> bool {
        let serves = || entry.serves(range, access);
        let Some(number) = entry.refs.take_own(thread_registry::caller(), serves) else {
            return self.take_elsewhere(entry, range, access);
        };
        if self.is_current(entry) {
            self.touch_own(entry, usize::from(number));
            return true;
        }
        self.put_unused(entry);
        false
    }

    /// As `take`, by a thread that is not its owner.
    #[inline]
    fn take_elsewhere(&self, entry: &Entry, range: Range, access: u32) -> bool {
        // A first look without a reference, to leave other entries' lines
        // alone; it may read a mixture and proves nothing.
        entry.serves(range, access)
            && (entry.refs.is_shared() && self.take_shared(entry, range, access)
                || self.take_foreign(entry, range, access))
    }

    /// As `take`, by a thread that does not count by itself.
    fn take_foreign(&self, entry: &Entry, range: Range, access: u32) -> bool {
        match entry.refs.take() {
            // With the reference the fields hold still: look again.
            Ok(()) if entry.serves(range, access) && self.is_current(entry) => {
                let number = thread_registry::number();
                let last = entry.stamp.load(Ordering::Relaxed);
                self.touch(entry, number);
                self.used_by_another(entry, number, last);
                true
            }
            Ok(()) => {
                self.put_unused(entry);
                false
            }
            Err(put) => {
                self.after_unused(entry, put);
                false
            }
        }
    }

    /// As `find_noted`, by way of the tree: finds whatever the cache holds.
    #[cold]
    pub(super) fn find_slow(&self, range: Range, access: u32) -> Result<u32, Errno> {
        self.home.check()?;
        let found = unwatched(|| {
            self.unless_escaped(match self.find_in_tree(range, access) {
                Found::Entry(index) => Ok(index),
                Found::Nothing | Found::Unproven if self.draining.load(Ordering::Relaxed) => {
                    Err(Errno::ESHUTDOWN)
                }
                Found::Nothing | Found::Unproven => Err(Errno::ENOENT),
            })
        });
        take_over();
        found
    }

    /// What a lookup comes to that may have called callbacks: when one of them
    /// did not return, nobody is there to use an entry.
    #[inline(always)]
    pub(super) fn unless_escaped(&self, found: Result<u32, Errno>) -> Result<u32, Errno> {
        if !unwinding::is_held() {
            return found;
        }
        self.escaped(found)
    }

    #[cold]
    fn escaped(&self, found: Result<u32, Errno>) -> Result<u32, Errno> {
        if let Ok(index) = found {
            self.put(self.entries.at(index));
        }
        Err(Errno::ESCAPED)
    }

    fn find_in_tree(&self, range: Range, access: u32) -> Found {
        loop {
            let found = (self.state.lock()).take_serving(&self.entries, range, access);
            let Some(index) = found else {
                return Found::Nothing;
            };
            if let Some(found) = self.use_found(range, index) {
                return found;
            }
        }
    }

    /// Makes use of an entry that the tree held, with a reference taken on it.
    /// `None`: it had changed, and is gone.
    pub(super) fn use_found(&self, range: Range, index: u32) -> Option<Found> {
        let entry = self.entries.at(index);
        if self.is_current(entry) {
            self.touch(entry, thread_registry::number());
            self.note(range, entry);
            return Some(Found::Entry(index));
        }
        let changed = entry.has_changed();
        if changed {
            self.drop_entry(index, Cause::Changed);
        }
        self.put(entry);
        (!changed).then_some(Found::Unproven)
    }

    /// Has the page index lead from an address to the entry that serves it.
    pub(super) fn note(&self, range: Range, entry: &Entry) {
        let offset = self.entries.offset_of(entry);
        self.page_index.note(range.start(), offset, |other| {
            // SAFETY: the page index holds entries of this cache only.
            unsafe { self.entries.at_offset(other as usize) }
                .refs
                .is_live()
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
    /// many there were. Registrations that are being made there never become
    /// findable.
    #[inline]
    pub(super) fn drop_overlapping(&self, range: Range, cause: Cause) -> usize {
        match self.drop_some(range, cause, true) {
            BATCH => BATCH + self.drop_rest(range, cause),
            dropped => dropped,
        }
    }

    #[cold]
    fn drop_rest(&self, range: Range, cause: Cause) -> usize {
        let mut dropped = 0;
        loop {
            let batch = self.drop_some(range, cause, false);
            dropped += batch;
            if batch < BATCH {
                return dropped;
            }
        }
    }

    /// Notes of those entries of a batch just dropped that are in use that
    /// `range` has changed. Under the lock.
    fn mark_in_use(&self, batch: &[u32], range: Range) {
        for &index in batch {
            if self.entries.at(index).refs.is_detached() {
                self.has_extras.store(true, Ordering::Relaxed);
                self.entries.extra(index).mark_changed(range);
            }
        }
    }

    /// As `drop_overlapping`, up to a batch of them, to hold the lock for short
    /// times. The `first` time also what is being made: what is begun after
    /// that was begun after the change.
    #[inline(never)]
    fn drop_some(&self, range: Range, cause: Cause, first: bool) -> usize {
        let mut retired = List::EMPTY;
        let mut room = [MaybeUninit::uninit(); BATCH];
        let dropped = {
            let mut state = self.state.lock();
            if first && state.is_any_under_way() {
                state.end_under_way(&self.entries, range);
            }
            let said = cause == Cause::Invalidated;
            if first && said && !state.orphans.is_empty() {
                self.has_extras.store(true, Ordering::Relaxed);
                state.mark_orphans(&self.entries, range);
            }
            let batch = state.overlapping(range, &mut room);
            if batch.is_empty() {
                return 0;
            }
            state.drop_all(&self.entries, batch, cause, &mut retired);
            if said {
                self.mark_in_use(batch, range);
            }
            batch.len()
        };
        self.release(retired);
        dropped
    }
}

#[cfg(test)]
mod tests;
