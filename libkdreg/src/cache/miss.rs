// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a miss does: plan, make room, monitor, register, check, publish.
//!
//! Nothing here waits for another thread's registration: two threads that
//! miss on the same range both register, and the second finds out and gives
//! its own back. So a callback may ask for anything, and no thread's hit or
//! miss depends on another's callback.

use super::Inner;
use super::asking::Terms;
use super::entries::Entry;
use super::links::List;
use super::lookup::Found;
use super::pieces::{Pieces, Watched};
use super::reaper;
use super::register::Known;
use super::request::Request;
use super::state::{Alone, Sight, State};
use crate::errno::Errno;
use crate::race_detector::{take_over, unwatched};
use crate::range::Range;
use std::sync::atomic::Ordering;

/// How often a registration whose memory changed while it was being made is
/// made again, before it is handed out uncached.
const ATTEMPTS: usize = 3;

/// What became of one try to register and publish.
pub(super) enum Attempt {
    /// An entry, in use by the caller; slots in use so far.
    Done { index: u32, used: u32 },
    /// The memory changed meanwhile.
    Changed,
    /// The caller said so meanwhile: it is in the slot, in use and not kept.
    Ended,
    /// It failed.
    Failed(Errno),
    /// It can be registered, but not kept.
    NotKept,
}

/// A lookup that found nothing to be used.
struct Missed {
    /// Nothing was there; not just nothing that could be proven unchanged.
    proven: bool,
    /// Nor anything near, so that nothing is to be merged.
    alone: Option<Alone>,
    /// Something waits to be released.
    backlog: bool,
    /// What is registered is to be kept.
    keep: bool,
    /// A free slot, which is the caller's, unless there was none.
    slot: Option<u32>,
}

impl Inner {
    /// `get`, when the page index knew nothing.
    #[cold]
    pub(super) fn get_slow(&self, range: Range, access: u32) -> Result<u32, Errno> {
        self.get_slow_with(range, access, self.ordinary())
    }

    /// As `get_slow`, with more to say of what is registered.
    #[inline]
    pub(super) fn get_slow_with(
        &self,
        range: Range,
        access: u32,
        terms: Terms,
    ) -> Result<u32, Errno> {
        self.home.check()?;
        let found = unwatched(|| self.unless_escaped(self.get_here(range, access, terms)));
        take_over();
        found
    }

    #[inline]
    fn get_here(&self, range: Range, access: u32, terms: Terms) -> Result<u32, Errno> {
        let narrow = Inner::narrow(range, access, terms);
        let bare = self.bare(narrow);
        let missed = match self.look(range, bare) {
            Ok(index) => return Ok(index),
            Err(missed) => missed,
        };
        let slot = match missed.slot {
            Some(slot) => slot,
            None => self.take_slot()?,
        };
        let result = self.get_missed(slot, range, narrow, bare, &missed);
        if result != Ok(slot) {
            // Another entry serves, or none.
            self.state.lock().give_slot(slot);
            if self.draining.load(Ordering::Relaxed) {
                self.finish_draining();
            }
        }
        result
    }

    /// As `get_here`, after a look that found nothing; the entry is in `slot`,
    /// or another thread's, and then the slot is as free as before.
    #[inline]
    fn get_missed(
        &self,
        slot: u32,
        range: Range,
        narrow: Request,
        bare: Request,
        missed: &Missed,
    ) -> Result<u32, Errno> {
        reaper::rouse();
        // What is not kept needs no room: the reaper will do.
        let leave = !missed.keep && !self.options.no_reaper;
        if !leave && (missed.backlog || self.monitor.may_have_events()) {
            self.reap();
        }
        if !missed.keep {
            return self.register_uncached(slot, &narrow);
        }
        // To be asked again once it is watched. Now it saves watching it.
        let lately = !self.ordered && self.monitor.discarded_lately(bare.served);
        let attempts = if missed.proven && !lately {
            ATTEMPTS
        } else {
            0
        };
        let mut alone = missed.alone;
        // What a wide alignment adds need not be there.
        let first = if narrow.range == bare.range {
            bare
        } else {
            bare.speculative()
        };
        for _ in 0..attempts {
            let merged = match alone {
                Some(_) => None,
                None => Some(self.merged(bare)).filter(|&merged| merged != bare),
            };
            let mut attempt = match merged {
                Some(merged) => self.attempt_merged(slot, &first, &merged.speculative()),
                None => self.attempt(slot, &first, alone),
            };
            if narrow.range != bare.range && matches!(attempt, Attempt::Failed(_)) {
                attempt = self.attempt(slot, &narrow, alone);
            }
            // Once is what was looked up for; another try looks again.
            alone = None;
            match attempt {
                Attempt::Done { index, used } => {
                    // Allocates, so not under the lock.
                    self.page_index.reserve(used as usize);
                    self.note(range, self.entries.at(index));
                    return Ok(index);
                }
                Attempt::Changed => {}
                Attempt::Ended => return Ok(slot),
                Attempt::Failed(error) => return Err(error),
                Attempt::NotKept => break,
            }
        }
        self.register_uncached(slot, &narrow)
    }

    /// An entry that serves `range`, by way of the tree; `bare` is what would be
    /// registered for it. A miss is counted, and looked around, in the same
    /// hold of the lock.
    #[inline]
    fn look(&self, range: Range, bare: Request) -> Result<u32, Missed> {
        loop {
            let index = {
                let mut state = self.state.lock();
                let welcome = |entry: &Entry| self.should_merge(bare, bare, entry);
                // Neighbours that are not to be merged are not looked at.
                let apart = usize::from(!self.options.no_merge);
                match state.look(
                    &self.entries,
                    (range, bare.access),
                    bare.range,
                    apart,
                    welcome,
                ) {
                    Sight::Serving(index) => index,
                    Sight::Alone(alone) => return Err(self.missed(&mut state, Some(alone), true)),
                    Sight::Others => return Err(self.missed(&mut state, None, true)),
                }
            };
            match self.use_found(range, index) {
                Some(Found::Entry(index)) => return Ok(index),
                Some(_) => return Err(self.missed(&mut self.state.lock(), None, false)),
                None => {}
            }
        }
    }

    /// Counts a miss, and takes a slot for it, if there is one.
    #[inline(always)]
    fn missed(&self, state: &mut State, alone: Option<Alone>, proven: bool) -> Missed {
        state.counts.misses += 1;
        Missed {
            proven,
            alone,
            backlog: !state.backlog.is_empty(),
            keep: !self.options.bypass || state.bypass.keep(|| self.hits()),
            slot: state.take_slot(|| self.usable_slots()),
        }
    }

    /// How many slots there is memory for.
    pub(super) fn usable_slots(&self) -> u32 {
        self.entries.committed().min(self.lru_memory.committed())
    }

    /// A free slot, with memory for it if there is none.
    #[cold]
    fn take_slot(&self) -> Result<u32, Errno> {
        loop {
            let wanted = {
                let state = self.state.lock();
                if state.draining {
                    return Err(Errno::ESHUTDOWN);
                }
                state.slots_wanted()
            };
            if wanted > self.entries.capacity() {
                // What waits to be released has slots, and what is idle.
                if self.reap() == 0 && self.evict(1)? == 0 {
                    return Err(Errno::ENOMEM);
                }
                continue;
            }
            // Memory outside the lock.
            self.commit_slots(wanted)?;
            if let Some(index) = self.state.lock().take_slot(|| wanted) {
                return Ok(index);
            }
        }
    }

    /// Makes so many slots usable. Not under the lock.
    pub(super) fn commit_slots(&self, count: u32) -> Result<(), Errno> {
        self.entries.commit(count)?;
        self.lru_memory.commit(count)
    }

    /// As `attempt`, of what `bare` was merged to; of itself where that cannot
    /// be.
    fn attempt_merged(&self, slot: u32, bare: &Request, merged: &Request) -> Attempt {
        match self.attempt_of(slot, merged, None, Some(bare)) {
            Attempt::Failed(_) | Attempt::NotKept => self.attempt(slot, bare, None),
            other => other,
        }
    }

    /// One try, in a slot that is free before, and after unless it is `Done`
    /// there, or `Ended`. `alone`: nothing overlaps the request, while that
    /// lasts.
    #[inline]
    pub(super) fn attempt(&self, slot: u32, request: &Request, alone: Option<Alone>) -> Attempt {
        self.attempt_of(slot, request, alone, None)
    }

    /// As `attempt`, of what was merged from a request, if there is one, and if
    /// it may still be once the range is watched.
    #[inline(never)]
    fn attempt_of(
        &self,
        slot: u32,
        request: &Request,
        alone: Option<Alone>,
        merged_from: Option<&Request>,
    ) -> Attempt {
        let watched = if request.terms.watched {
            self.watched_ahead(slot)
        } else {
            self.monitor.monitor_for(
                request.range,
                u64::from(slot),
                self.registrar.needs(request.access),
            )
        };
        let region = match watched {
            Ok(region) => region,
            Err(error) if error == Errno::EFAULT => return Attempt::Failed(error),
            // Memory that cannot be watched, or no room to watch it in: a
            // registration that is not kept needs no watch.
            Err(_) => return Attempt::NotKept,
        };
        let right = merged_from.is_none_or(|bare| self.may_still_merge(*bare, *request));
        if !right || !self.ordered && self.monitor.discarded_lately(request.served) {
            self.unmonitor(region.name());
            return Attempt::NotKept;
        }
        // Before it is registered, as any watch.
        let mut pieces = match merged_from {
            Some(bare) => self.first_piece(slot, bare.range, request.access),
            None if alone.is_none() => Pieces::new(),
            None => None,
        };
        let attempt = self.attempt_watched(
            slot,
            request,
            alone,
            Watched {
                region,
                pieces: &mut pieces,
            },
        );
        if let Some(pieces) = pieces {
            self.give_back(&pieces);
        }
        if !matches!(attempt, Attempt::Done { index, .. } if index == slot) {
            self.unmonitor(region.name());
        }
        attempt
    }

    #[inline(always)]
    fn attempt_watched(
        &self,
        slot: u32,
        request: &Request,
        alone: Option<Alone>,
        watched: Watched<'_>,
    ) -> Attempt {
        let region = watched.region;
        let (room, retired, undone) = self.make_room(slot, request, alone);
        // What was evicted is deregistered before more is registered, or the
        // limits would not be limits.
        let spent = self.release_leaving(retired);
        if !room {
            self.settle(spent);
            return Attempt::NotKept;
        }
        let known = Known {
            undone,
            spent: spent.count(),
        };
        let registered = self.register_with_room(slot, request, known);
        if let Ok(handle) = registered {
            // Registered after the watch began, checked after it was
            // registered: what `handle` names is what is mapped now, or
            // the word says so.
            if self.validity.check(region.word(), region.generation()) {
                return self.publish(slot, request, alone, handle, watched, spent);
            }
            self.undo(slot, request.range, request.access, handle);
        }
        {
            let mut state = self.state.lock();
            let _ = state.redeem(slot, request.range);
            state.settle(&self.entries, spent);
            if registered.is_ok() {
                state.counts.registrations += 1;
                state.counts.deregistrations += 1;
            }
        }
        self.say_released();
        match registered {
            Ok(_) => Attempt::Changed,
            Err(error) => Attempt::Failed(error),
        }
    }

    /// As `State::make_room`; with what was evicted, and how many registrations
    /// were undone until then.
    #[inline]
    fn make_room(&self, slot: u32, request: &Request, alone: Option<Alone>) -> (bool, List, u64) {
        // What it may be ended by.
        // SAFETY: a slot that was taken is committed.
        let entry = unsafe { self.entries.at_unchecked(slot) };
        entry.set_ranges(request, self.options.entry_size > 0);
        let mut retired = List::EMPTY;
        let (room, victim, undone) = {
            let mut state = self.state.lock();
            let room = state.make_room(
                &self.entries,
                &self.options,
                slot,
                request,
                alone,
                &mut retired,
            );
            let evicting = !retired.is_empty();
            let victim = evicting.then(|| state.prefetch_victim(&self.entries));
            (room, victim.flatten(), state.counts.deregistrations)
        };
        if let Some(victim) = victim {
            // By now it may be another entry, or none: a hint.
            // SAFETY: it was filed, and so is committed.
            let victim = unsafe { self.entries.at_unchecked(victim) };
            self.page_index.prefetch(victim.start());
            victim.prefetch_word();
        }
        let room = room && (self.options.group.is_none() || self.admitted(slot, request));
        (room, retired, undone)
    }
}

#[cfg(test)]
mod tests;
