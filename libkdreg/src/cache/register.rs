// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registering where the device may be out of memory, or the cache of room.

use super::frames::inside_callback_of;
use super::links::List;
use super::request::Request;
use super::state::State;
use super::{Handle, Inner};
use crate::errno::Errno;
use crate::sync::pause;

/// How often a registration that lacks memory is tried again while another
/// thread releases some: for some hundredths of a second. Not until it is
/// through: its callback may wait for something that this thread has.
const NAPS: u32 = 400;

/// What a thread that is about to register knows of registrations undone.
pub(super) struct Known {
    /// How many, before it asks for one.
    pub undone: u64,
    /// Entries that it released itself and has not settled.
    pub spent: usize,
}

impl Inner {
    /// Registers; when there is no memory, releases and evicts until there is
    /// or nothing is left to evict.
    #[inline]
    pub(super) fn register_with_room(
        &self,
        slot: u32,
        request: &Request,
        known: Known,
    ) -> Result<Handle, Errno> {
        match self.register(slot, request) {
            Err(error) if error == Errno::ENOMEM => self.register_evicting(slot, request, known),
            other => other,
        }
    }

    /// As `register_with_room`, when there was no room.
    #[cold]
    fn register_evicting(
        &self,
        slot: u32,
        request: &Request,
        mut known: Known,
    ) -> Result<Handle, Errno> {
        let mut naps = 0;
        // How many the other caches of its group had undone when they were looked at.
        let mut elsewhere = None;
        loop {
            let mut freed = 0;
            let waiting = self.release_backlogs();
            // Something was waiting: try again before evicting.
            while waiting == 0 && freed < request.range.len() {
                let Some(bytes) = self.evict_for(request) else {
                    break;
                };
                freed += bytes;
            }
            if waiting == 0 && freed == 0 {
                // What is missing may be what another thread gives back this
                // moment.
                let released = self.is_released_elsewhere(&mut known)
                    || self.is_released_in_group(&mut elsewhere);
                if naps == NAPS || !released {
                    return Err(Errno::ENOMEM);
                }
                pause(naps);
                naps += 1;
            }
            match self.register(slot, request) {
                Err(error) if error == Errno::ENOMEM => {}
                other => return other,
            }
        }
    }

    /// Evicts and deregisters one idle entry, of the group if the cache is in one;
    /// returns its bytes. What the request supersedes goes last, but it goes.
    fn evict_for(&self, request: &Request) -> Option<usize> {
        if let Some(group) = &self.options.group {
            return group.evict_for(self, request);
        }
        let mut retired = List::EMPTY;
        let evicted = {
            let mut state = self.state.lock();
            state.evict_one(&self.entries, Some(request), &mut retired)
                || state.evict_one(&self.entries, None, &mut retired)
        };
        evicted.then(|| {
            let bytes = self.length_of(retired);
            self.release_now(retired);
            bytes
        })
    }

    /// Releases what waits for it, in the group; returns how many entries.
    fn release_backlogs(&self) -> usize {
        let others = self.options.group.as_ref();
        self.release_backlog() + others.map_or(0, |group| group.release_backlogs(self))
    }

    /// Whether other threads are undoing registrations, or did since.
    fn is_released_elsewhere(&self, known: &mut Known) -> bool {
        let state = self.state.lock();
        let undone = std::mem::replace(&mut known.undone, state.counts.deregistrations);
        // Inside a callback it may be this thread that is.
        known.undone != undone || state.releasing > known.spent && !inside_callback_of(self)
    }

    /// As `is_released_elsewhere`, in the other caches of the group.
    fn is_released_in_group(&self, known: &mut Option<u64>) -> bool {
        self.options.group.as_ref().is_some_and(|group| {
            let (undone, undoing) = group.undone(self);
            // What was undone before the first look may be what was missing.
            known.replace(undone) != Some(undone) || undoing && !self.waits_for_callback()
        })
    }

    /// The bytes of a list of one entry.
    pub(super) fn length_of(&self, list: List) -> usize {
        list.first()
            .map_or(0, |index| self.entries.at(index).range().len())
    }

    /// A registration for this caller alone, released at its put.
    ///
    /// # Errors
    /// `ENOENT`: it is asked for only if it can be kept.
    pub(super) fn register_uncached(&self, slot: u32, request: &Request) -> Result<u32, Errno> {
        if request.terms.kept_only() {
            return Err(Errno::ENOENT);
        }
        let known = Known {
            undone: self.state.lock().counts.deregistrations,
            spent: 0,
        };
        let handle = self.register_with_room(slot, request, known)?;
        let entry = self.entries.at(slot);
        entry.set_ranges(request, self.options.entry_size > 0);
        entry.set_registration(request.access, handle.0, None);
        entry.refs.publish_detached();
        let mut state = self.state.lock();
        let State { orphans, links, .. } = &mut *state;
        orphans.add(links, slot);
        state.counts.registrations += 1;
        state.counts.uncached += 1;
        Ok(slot)
    }
}

#[cfg(test)]
mod tests;
