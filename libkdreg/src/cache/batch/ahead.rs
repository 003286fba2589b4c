// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done for the ranges of a list that will have to be registered, for all
//! of them at once, where the backend has a call for many: each is watched before
//! the first of them is registered.
//!
//! A watch that began earlier misses nothing: a range is still watched before it is
//! registered, and its word is asked after that. What changes in between makes that
//! registration fail the check, and the next attempt is a miss like any other.
//!
//! Nothing is decided here but what is likely to be a plain miss: when its turn
//! comes each range is looked up as ever, since those before it may serve it by then,
//! and what was done for nothing is undone.

use super::super::entries::{Entries, Entry};
use super::super::miss::Attempt;
use super::super::request::Request;
use super::super::state::{Alone, State};
use super::super::{Inner, reaper};
use super::Scattered;
use crate::errno::Errno;
use crate::memory;
use crate::monitor::Region;
use crate::race_detector::{take_over, unwatched};
use crate::range::Range;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

/// So many ranges are looked at in one hold of the lock.
const STEP: usize = 32;

/// The lookups of a list that something was done for, in the list's order.
#[derive(Default)]
pub(super) struct Ahead {
    all: Vec<Planned>,
    next: usize,
}

/// A lookup that is expected to find nothing.
#[derive(Clone, Copy)]
pub(super) struct Planned {
    place: usize,
    /// What will be registered, where nothing is to be merged.
    bare: Request,
    /// A slot for it. If it is watched, what watches it is in there.
    slot: Option<u32>,
    watched: bool,
}

impl Ahead {
    /// What was done for the lookup in a place, which comes after those asked for before.
    /// It is the caller's.
    pub fn take(&mut self, place: usize) -> Option<Planned> {
        while self.all.get(self.next)?.place < place {
            self.next += 1;
        }
        let planned = &mut self.all[self.next];
        let taken = *planned;
        if taken.place != place {
            return None;
        }
        planned.slot = None;
        Some(taken)
    }
}

impl State {
    /// As `look` where nothing is to be served: that a registration of `bare` would have
    /// nothing to do with any entry.
    fn look_for_others(
        &self,
        entries: &Entries,
        bare: Range,
        apart: usize,
        welcome: impl Fn(&Entry) -> bool,
    ) -> Option<Alone> {
        let from = bare.start().saturating_sub(apart);
        let others = self
            .tree
            .overlapping(&self.links, from, bare.end() + apart, &mut |index| {
                let entry = entries.at(index);
                if entry.range().overlaps(bare) || welcome(entry) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
        others.is_continue().then_some(Alone {
            insertions: self.insertions,
        })
    }
}

impl Inner {
    /// Whether there is anything to be done ahead.
    pub(super) fn prepares(&self) -> bool {
        // Where discards are not ordered a watch begins when a page is asked for
        // (`serving`); who looks back decides later what is to be watched at all.
        self.ordered && !self.options.bypass && self.monitor.monitors_many()
    }

    /// Has those ranges of a list watched that will have to be registered, of the
    /// `missing` in it.
    ///
    /// # Errors
    /// `EFAULT`: part of one is not mapped. Then nothing was done.
    pub(super) fn prepare(
        &self,
        list: &impl Scattered,
        access: u32,
        missing: usize,
    ) -> Result<Ahead, Errno> {
        let Ok(mut all) = memory::try_vec(missing.min(self.options.max_entries)) else {
            return Ok(Ahead::default());
        };
        self.plan(list, access, &mut all);
        if self.monitor.may_have_events() {
            self.reap();
        }
        self.take_slots(&mut all);
        let watched = self.watch(&mut all, access);
        let ahead = Ahead { all, next: 0 };
        match watched {
            Ok(()) => Ok(ahead),
            Err(error) => {
                self.give_up(ahead);
                Err(error)
            }
        }
    }

    /// The ranges of a list that nothing serves by way of the index, as many as `all` has
    /// room for.
    fn plan(&self, list: &impl Scattered, access: u32, all: &mut Vec<Planned>) {
        let terms = self.ordinary();
        let mut before: Option<Range> = None;
        for place in 0..list.count() {
            if all.len() == all.capacity() {
                return;
            }
            if !list.entry(place).is_null() {
                continue;
            }
            let narrow = Inner::narrow(list.range(place), access, terms);
            let mut bare = self.bare(narrow);
            // What a wide alignment adds need not be there.
            bare.terms.speculative = bare.range != narrow.range;
            // Else the one before it will serve it, or be merged with it.
            let by_itself = |before: Range| {
                let touches = !self.options.no_merge && before.touches(bare.range);
                !touches && !before.overlaps(bare.range)
            };
            if before.replace(bare.range).is_none_or(by_itself) {
                all.push(Planned {
                    place,
                    bare,
                    slot: None,
                    watched: false,
                });
            }
        }
    }

    /// Takes slots for those that would be registered by themselves. Those that are left
    /// without take their own course.
    fn take_slots(&self, all: &mut [Planned]) {
        let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
        for step in all.chunks_mut(STEP) {
            let usable = self.usable_slots();
            let wanted = {
                let mut state = self.state.lock();
                let all_have = self.take_some(&mut state, step, usable);
                (!all_have).then(|| state.slots_wanted().saturating_add(count))
            };
            let Some(wanted) = wanted else { continue };
            // Memory outside the lock: for this step, and the next ones.
            let wanted = wanted.min(self.entries.capacity());
            if wanted <= usable || self.commit_slots(wanted).is_err() {
                return;
            }
            self.take_some(&mut self.state.lock(), step, wanted);
        }
    }

    /// Takes slots for those that have none and need one. `false`: there are no more.
    fn take_some(&self, state: &mut State, step: &mut [Planned], usable: u32) -> bool {
        for planned in step {
            if planned.slot.is_none() && self.is_alone(state, planned).is_some() {
                planned.slot = state.take_slot(|| usable);
                if planned.slot.is_none() {
                    // In a cache that is being drained there will not be any.
                    return state.draining;
                }
            }
        }
        true
    }

    /// Whether it would be registered without regard to others.
    fn is_alone(&self, state: &State, planned: &Planned) -> Option<Alone> {
        let bare = planned.bare;
        let welcome = |entry: &Entry| self.should_merge(bare, bare, entry);
        let apart = usize::from(!self.options.no_merge);
        state.look_for_others(&self.entries, bare.range, apart, welcome)
    }

    /// Watches what has a slot.
    fn watch(&self, all: &mut [Planned], access: u32) -> Result<(), Errno> {
        let Ok(mut wanted) = memory::try_vec(all.len()) else {
            return Ok(());
        };
        let slots = all.iter().filter_map(|planned| {
            let slot = planned.slot?;
            Some((planned.bare.range, u64::from(slot)))
        });
        wanted.extend(slots);
        let needs = self.registrar.needs(access);
        let Ok(regions) = self.monitor.monitor_all(&wanted, needs) else {
            return Ok(());
        };
        let mut failed = Ok(());
        let mut regions = regions.into_iter();
        for planned in all {
            let Some(slot) = planned.slot else { continue };
            match regions.next() {
                Some(Ok(region)) => {
                    let entry = self.entries.at(slot);
                    entry.set_registration(access, 0, Some(region));
                    planned.watched = true;
                }
                Some(Err(Errno::EFAULT)) if !planned.bare.terms.speculative => {
                    failed = Err(Errno::EFAULT);
                }
                // Perhaps it can be by itself.
                _ => {}
            }
        }
        failed
    }

    /// What watches what is to be registered in a slot.
    #[cold]
    pub(in super::super) fn watched_ahead(&self, slot: u32) -> Result<Region, Errno> {
        self.entries.at(slot).region().ok_or(Errno::EINVAL)
    }

    /// An entry for what was planned; and whether it was registered for it. `None`: it is
    /// to be looked for as if nothing had been planned.
    pub(super) fn get_planned(
        &self,
        planned: Planned,
        range: Range,
    ) -> Option<Result<(u32, bool), Errno>> {
        let slot = planned.slot.filter(|_| planned.watched);
        let Some(slot) = slot else {
            self.give_up_one(planned);
            return None;
        };
        let got = unwatched(|| {
            let got = self.get_planned_here(planned, slot, range)?;
            Some(got.and_then(|(index, made)| {
                let index = self.unless_escaped(Ok(index))?;
                Ok((index, made))
            }))
        });
        take_over();
        got
    }

    fn get_planned_here(
        &self,
        planned: Planned,
        slot: u32,
        range: Range,
    ) -> Option<Result<(u32, bool), Errno>> {
        let (alone, backlog) = {
            let mut state = self.state.lock();
            let alone = self.is_alone(&state, &planned);
            state.counts.misses += u64::from(alone.is_some());
            (alone, !state.backlog.is_empty())
        };
        if alone.is_none() {
            // What came before it serves it, or is near.
            self.give_up_one(planned);
            return None;
        }
        reaper::rouse();
        if backlog {
            self.reap();
        }
        let mut request = planned.bare;
        request.terms.watched = true;
        // It is not watched for us any more, whatever comes of it, but by the entry.
        let left = Planned {
            watched: false,
            ..planned
        };
        let failed = match self.attempt(slot, &request, alone) {
            Attempt::Done { index, used } => {
                self.page_index.reserve(used as usize);
                self.note(range, self.entries.at(index));
                if index != slot {
                    self.give_up_one(left);
                }
                return Some(Ok((index, index == slot)));
            }
            Attempt::Ended => return Some(Ok((slot, true))),
            Attempt::Failed(error) if !request.terms.speculative => Some(Err(error)),
            Attempt::Failed(_) | Attempt::Changed | Attempt::NotKept => {
                // It will be counted again.
                self.state.lock().counts.misses -= 1;
                None
            }
        };
        self.give_up_one(left);
        failed
    }

    /// Undoes what was done for lookups that did not come to it.
    pub(super) fn give_up(&self, ahead: Ahead) {
        for planned in ahead.all {
            self.give_up_one(planned);
        }
    }

    /// Undoes what was done for a lookup.
    fn give_up_one(&self, planned: Planned) {
        let Some(slot) = planned.slot else { return };
        if planned.watched {
            // In the slot, which is still the caller's.
            if let Some(name) = self.entries.at(slot).watched() {
                self.unmonitor(name);
            }
        }
        self.state.lock().give_slot(slot);
        if self.draining.load(Ordering::Relaxed) {
            self.finish_draining();
        }
    }
}
