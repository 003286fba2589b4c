// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is evicted after everything else, or never, because the caller says so.
//!
//! The order of eviction knows nothing of it. Entries are sought in turns: of
//! the first turn are those of the smallest priority that there is, mostly 0.
//! What comes up and has more than the turn's is passed over, and counts as used
//! then: it comes up again after all others, so passing over costs as much as
//! evicting, once for each time that the cache's contents change. When a turn
//! ends with nothing evicted, the next is that of the smallest priority that was
//! passed over. A miss that finds nothing to evict passes over nothing: it looks
//! first (`State::make_room`), and moves no entry.
//!
//! A cache of which no entry has a priority looks at one count for all this.

use super::Inner;
use super::entries::{Entries, Entry};
use super::state::State;
use super::turns::PINNED;
use crate::errno::Errno;

impl State {
    /// The priority of a live entry.
    #[inline]
    pub(super) fn priority(&self, entries: &Entries, index: u32) -> u8 {
        match self.kept.any {
            0 => 0,
            _ => entries.extra(index).priority(),
        }
    }

    /// The smallest priority of all entries.
    #[inline]
    pub(super) fn least_priority(&self) -> u8 {
        if self.kept.any == 0 || self.kept.any < self.cached {
            return 0;
        }
        self.least_of_all()
    }

    #[cold]
    #[inline(never)]
    fn least_of_all(&self) -> u8 {
        let mut priorities = 1..PINNED;
        let has = |&priority: &u8| self.kept.each[usize::from(priority)] > 0;
        priorities.find(has).unwrap_or(PINNED)
    }

    /// Whether any live entry has a priority.
    #[inline]
    pub(super) fn has_priorities(&self) -> bool {
        self.kept.any > 0
    }

    /// Gives a priority to an entry that is live, or is before the lock is let go.
    #[cold]
    #[inline(never)]
    pub(super) fn set_priority(&mut self, entries: &Entries, index: u32, priority: u8) {
        let former = entries.extra(index).set_priority(priority);
        if priority > 0 {
            self.kept.any += 1;
            self.kept.each[usize::from(priority)] += 1;
        }
        if former > 0 {
            self.kept.any -= 1;
            self.kept.each[usize::from(former)] -= 1;
        }
    }

    /// An entry is not to be found any more: its priority ends.
    #[inline]
    pub(super) fn end_priority(&mut self, entries: &Entries, index: u32) {
        if self.kept.any > 0 {
            self.set_priority(entries, index, 0);
        }
    }

    /// Gives an entry, which is about to be found, the priority of another whose
    /// place it takes, if that is larger.
    #[inline]
    pub(super) fn inherit_priority(&mut self, entries: &Entries, heir: u32, index: u32) {
        let priority = self.priority(entries, index);
        if priority > self.priority(entries, heir) {
            self.set_priority(entries, heir, priority);
        }
    }

    /// Files an entry that was passed over, and is not filed, as the one used last.
    #[cold]
    #[inline(never)]
    pub(super) fn file_last(&mut self, entries: &Entries, index: u32) {
        // A use this moment is lost, and would have come to the same.
        let stamp = entries.at(index).file_stamp().max(self.lru.newest());
        self.lru.file_new(&mut self.links, entries, index, stamp);
    }
}

impl Inner {
    /// Gives an entry that a C caller holds a priority.
    ///
    /// # Errors
    /// `EINVAL`: it does not hold it; `ENOENT`: it is not cached, or not any more.
    pub(crate) fn prioritize(&self, entry: *const Entry, priority: u8) -> Result<(), Errno> {
        self.home.check()?;
        let index = self.entries.index_of(self.held_entry(entry)?);
        let mut state = self.state.lock();
        // Under the lock what is live stays so.
        if !self.entries.at(index).refs.is_live() {
            return Err(Errno::ENOENT);
        }
        state.set_priority(&self.entries, index, priority);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
