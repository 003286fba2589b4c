// SPDX-License-Identifier: MIT OR Apache-2.0
//! The watches of the ranges that a merged registration was made of.
//!
//! A registration's region says that something in it has changed, and not
//! where. One that was merged serves many who each asked for a part, and who
//! want to know of theirs. So it keeps the regions of the registrations that it
//! took the place of, and one of the range that was asked for when it was made:
//! they go on watching, without interruption, and each says of its range what
//! the word of any region says. No lookup asks them: an entry is found while
//! all of it is unchanged.

use super::Inner;
use super::entries::{Entries, Entry};
use super::extras::Extra;
use super::pieces::{Pieces, Watch};
use crate::range::{Range, page_size};
use std::ptr::null_mut;
use std::sync::atomic::{Ordering, fence};

impl Pieces {
    /// Takes over what watches parts of an entry that is about to be superseded.
    /// Under the lock; allocates nothing. Only what is unchanged now, when the
    /// registration that takes its place has been made; and only for the rights that
    /// this has: what watches for fewer may pass over what takes the others away.
    pub fn inherit(&mut self, entry: &Entry, extra: &Extra, access: u32) {
        if entry.access() != access {
            return;
        }
        // Acquire: set before the entry was published.
        let pieces = extra.pieces.load(Ordering::Acquire);
        // SAFETY: the entry is live, under the lock, so its pieces are there.
        if let Some(pieces) = unsafe { pieces.as_ref() } {
            for &watch in &pieces.watches {
                // SAFETY: the entry's share keeps it.
                let known = unsafe { &*watch };
                if !self.is_full() && !known.has_changed() {
                    // Relaxed: the entry's share keeps it meanwhile.
                    known.count.fetch_add(1, Ordering::Relaxed);
                    self.watches.push(watch);
                }
            }
        } else if let (Some((word, generation)), Some(name)) = (entry.word(), entry.watched()) {
            let unchanged = word.load(Ordering::Acquire) == generation;
            if unchanged && extra.own.load(Ordering::Relaxed).is_null() {
                if let Some(watch) = self.add(word, name, entry.range(), 2) {
                    // Release: pairs with the Acquire of who releases the entry.
                    extra.own.store(watch.cast_mut(), Ordering::Release);
                }
            }
        }
    }
}

/// What is known of a range that a caller has registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The backend cannot tell, or not now.
    Unknown,
    /// It maps what it did when it was registered.
    Unchanged,
    /// Its mapping changed, or the caller said so.
    Changed,
}

impl Inner {
    /// Watches `range` as the first piece of what is about to be registered in
    /// `slot`.
    #[cold]
    pub(super) fn first_piece(&self, slot: u32, range: Range, access: u32) -> Option<Box<Pieces>> {
        let needs = self.registrar.needs(access);
        let region = self
            .monitor
            .monitor_for(range, u64::from(slot), needs)
            .ok()?;
        let mut pieces = Pieces::new();
        match &mut pieces {
            Some(pieces) => {
                pieces.add(region.word(), region.name(), range, 1);
            }
            None => self.unmonitor(region.name()),
        }
        pieces
    }

    /// Gives watches back that no entry has.
    #[cold]
    pub(super) fn give_back(&self, pieces: &Pieces) {
        for &watch in &pieces.watches {
            self.put_watch(watch);
        }
    }

    /// Puts a share in a region back; the last one ends its watch.
    fn put_watch(&self, watch: *const Watch) {
        // SAFETY: the caller's share keeps it until here.
        let shared = unsafe { &*watch };
        // Release: what was read of it happens before it is freed.
        if shared.count.fetch_sub(1, Ordering::Release) == 1 {
            // Acquire: pairs with the Releases of the others.
            fence(Ordering::Acquire);
            self.unmonitor(shared.name);
            // SAFETY: from Box::into_raw, and this was the last share.
            drop(unsafe { Box::from_raw(watch.cast_mut()) });
        }
    }

    /// Ends the watches of an entry that is being released, but for those that
    /// others share; `false` where its own region is still to be unmonitored.
    #[cold]
    pub(super) fn release_watches(&self, extra: &Extra) -> bool {
        // Acquire: pairs with the Release in `inherit`.
        let own = extra.own.swap(null_mut(), Ordering::Acquire);
        let pieces = extra.pieces.swap(null_mut(), Ordering::Acquire);
        if !pieces.is_null() {
            // SAFETY: the entry's own, which nobody uses any more.
            let pieces = unsafe { Box::from_raw(pieces) };
            self.give_back(&pieces);
        }
        extra.clear();
        if own.is_null() {
            return false;
        }
        self.put_watch(own);
        true
    }

    /// What is known of `range`, a part of an entry that a C caller holds.
    ///
    /// # Errors
    /// `EINVAL`: it is not held, or does not cover the range.
    pub(crate) fn standing(
        &self,
        entry: *const Entry,
        range: Range,
    ) -> Result<Standing, crate::errno::Errno> {
        let entry = self.held_entry(entry)?;
        if !entry.range().contains(range) {
            return Err(crate::errno::Errno::EINVAL);
        }
        Ok(self.standing_of(entry, range))
    }

    pub(super) fn standing_of(&self, entry: &Entry, range: Range) -> Standing {
        let extra = self.entries.extra_of(entry);
        if extra.is_marked(range) {
            return Standing::Changed;
        }
        let Some((word, generation)) = entry.word() else {
            return Standing::Unknown;
        };
        if self.validity.check(word, generation) {
            return Standing::Unchanged;
        }
        if !entry.has_changed() {
            // Changes were in flight all the time, or the backend has died.
            return Standing::Unknown;
        }
        let pages = range.widened(page_size());
        // Acquire: set before the entry was published.
        let pieces = extra.pieces.load(Ordering::Acquire);
        // SAFETY: the caller holds the entry, which keeps them.
        let watches = unsafe { pieces.as_ref() }.map_or(&[][..], |pieces| &pieces.watches);
        // SAFETY: as above.
        let watches = watches.iter().map(|&watch| unsafe { &*watch });
        // Whether what is unchanged covers all of it.
        let mut known = range.start();
        while known < range.end() {
            let further = (watches.clone())
                .filter(|watch| watch.range.start() <= known && known < watch.range.end())
                .filter(|watch| self.validity.check(watch.word, watch.name.generation))
                .map(|watch| watch.range.end())
                .max();
            match further {
                Some(end) => known = end,
                // What was read before is in the words by now: `check` waited.
                None => break,
            }
        }
        if known >= range.end() {
            return Standing::Unchanged;
        }
        let within = |watch: &Watch| pages.contains(watch.range) && watch.has_changed();
        if pages.contains(entry.range()) || watches.clone().any(within) {
            Standing::Changed
        } else {
            Standing::Unknown
        }
    }
}

impl Entries {
    /// What an entry has besides its line.
    pub fn extra_of(&self, entry: &Entry) -> &Extra {
        self.extra(self.index_of(entry))
    }
}

#[cfg(test)]
mod tests;
