// SPDX-License-Identifier: MIT OR Apache-2.0
//! Putting a reference back, and what the last one of an entry owes.

use super::Inner;
use super::entries::Entry;
use super::links::List;
use super::refs::{self, Put};
use super::sharing::put_shared;
use crate::errno::Errno;
use crate::race_detector::unwatched;
use crate::thread_registry;
use crate::unwinding;

impl Inner {
    /// Puts a reference back.
    #[inline]
    pub(crate) fn put(&self, entry: &Entry) {
        if !entry.refs.put_own(thread_registry::caller()) {
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

    /// As `put`, by a lookup in the index, which calls no callback: what it was
    /// the last to hold is left to the reaper.
    #[inline]
    pub(super) fn put_unused(&self, entry: &Entry) {
        if !entry.refs.put_own(thread_registry::caller()) {
            self.put_unused_elsewhere(entry);
        }
    }

    #[inline(never)]
    fn put_unused_elsewhere(&self, entry: &Entry) {
        if put_shared(entry) {
            return;
        }
        match entry.refs.put() {
            Put::Done => self.put_back_elsewhere(entry),
            put => self.after_unused(entry, put),
        }
    }

    /// Puts back a reference that a C caller claims to hold, if the calling
    /// thread is the owner of what is an entry, and counted one there. `false`: not
    /// so, and nothing happened. Calls nothing, and cannot panic.
    #[inline(always)]
    pub(crate) fn put_quickly(&self, entry: *const Entry) -> bool {
        match self.entries.find(entry) {
            Some(entry) => entry.refs.put_own(thread_registry::caller()),
            None => false,
        }
    }

    /// As `put_quickly`, by whichever thread.
    pub(crate) fn put_checked(&self, entry: *const Entry) -> Result<(), Errno> {
        let entry = self.entries.find(entry).ok_or(Errno::EINVAL)?;
        if entry.refs.put_own(thread_registry::caller()) {
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
        if !self.is_held(entry)? {
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
                if unwinding::is_held() {
                    return Err(Errno::ESCAPED);
                }
                Ok(())
            }
        }
    }

    /// Does what the last put of an entry owes.
    #[cold]
    pub(super) fn after_put(&self, entry: &Entry, put: Put) {
        unwatched(|| self.owe(entry, put, Inner::release));
    }

    /// As `after_put`, without calling a callback.
    #[cold]
    pub(super) fn after_unused(&self, entry: &Entry, put: Put) {
        unwatched(|| self.owe(entry, put, Inner::leave));
    }

    fn owe(&self, entry: &Entry, put: Put, release: fn(&Inner, List)) {
        match put {
            Put::Done | Put::NotHeld => {}
            Put::Detached => {
                if self.home.is_here() && entry.refs.claim_detached() {
                    release(self, self.retire(self.entries.index_of(entry)));
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
        refs.in_use(thread_registry::owners()) && {
            // Ownerships are ended under the lock.
            let _state = self.state.lock();
            refs.count(thread_registry::owners()) > self.untold_references(index)
        }
    }

    /// Whether the entry a C caller holds is still valid.
    pub(crate) fn is_valid_entry(&self, entry: *const Entry) -> bool {
        self.entries.find(entry).is_some_and(|entry| {
            entry.refs.held(thread_registry::owners()) != refs::Held::No
                && self.is_current(entry)
                && !self.entries.extra_of(entry).is_marked(entry.range())
        })
    }
}
