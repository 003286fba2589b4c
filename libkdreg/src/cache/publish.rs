// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publishing: a registration that was made becomes an entry to be found.

use super::cause::Cause;
use super::entries::Entries;
use super::links::List;
use super::miss::Attempt;
use super::pieces::{Pieces, Watched};
use super::release::Spent;
use super::request::Request;
use super::state::{Alone, State};
use super::{Handle, Inner};
use crate::thread_registry;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

/// How publishing went.
enum Published {
    /// The entry is live.
    Here,
    /// Its memory changed.
    Changed,
    /// The caller said that its memory changed while it was being made.
    Ended,
    /// Another thread's entry serves as well; a reference on it was taken.
    Rival(u32),
}

impl Inner {
    /// Makes a registration findable, unless another thread was faster or its
    /// memory changed this moment. Redeems the promise of room, and settles what
    /// was released to make it.
    #[inline]
    pub(super) fn publish(
        &self,
        index: u32,
        request: &Request,
        alone: Option<Alone>,
        handle: Handle,
        watched: Watched<'_>,
        spent: Spent,
    ) -> Attempt {
        let Watched { region, pieces } = watched;
        // Not under the lock: a thread's first number allocates.
        let number = thread_registry::number();
        // SAFETY: a slot that was taken is committed.
        let entry = unsafe { self.entries.at_unchecked(index) };
        // Its ranges it has since room was made for it.
        entry.set_registration(request.access, handle.0, Some(region));
        let mut retired = List::EMPTY;
        let (outcome, used) = {
            let mut state = self.state.lock();
            let stands = state.redeem(index, request.range) && !state.draining;
            state.settle(&self.entries, spent);
            state.counts.registrations += 1;
            let alone = state.is_alone(alone);
            let rival = match alone {
                true => None,
                false => state.take_serving(&self.entries, request.served, request.access),
            };
            let outcome = if let Some(rival) = rival {
                state.counts.duplicates += 1;
                // Used by this thread now, whose clock may be ahead of the
                // other's.
                let stamp = self.tick(&state, number);
                let rival_entry = self.entries.at(rival);
                rival_entry.stamp.store(stamp, Ordering::Relaxed);
                Published::Rival(rival)
            } else if entry.has_changed() {
                Published::Changed
            } else if !stands {
                state.counts.uncached += 1;
                Published::Ended
            } else {
                // A change before this look was seen; one after it queues an
                // event that cannot be taken in before the lock is let go,
                // and then finds the entry live.
                if !alone {
                    let pieces = pieces.as_deref_mut();
                    state.supersede(&self.entries, request, index, pieces, &mut retired);
                }
                if request.terms.no_merge() {
                    self.has_extras.store(true, Ordering::Relaxed);
                    self.entries.extra(index).set_apart();
                }
                if let Some(pieces) = pieces.take() {
                    self.has_extras.store(true, Ordering::Relaxed);
                    // Relaxed: published with the entry.
                    let extra = self.entries.extra(index);
                    extra.pieces.store(Box::into_raw(pieces), Ordering::Relaxed);
                }
                let stamp = self.tick(&state, number);
                state.insert_live(&self.entries, index, stamp);
                Published::Here
            };
            (outcome, state.used_slots())
        };
        self.say_released();
        match outcome {
            Published::Here => {
                if !retired.is_empty() || self.tells {
                    self.release(retired);
                }
                Attempt::Done { index, used }
            }
            Published::Changed => {
                self.deregister(index, request, handle);
                Attempt::Changed
            }
            Published::Ended => {
                // Who asked for it did so before the caller of invalidate was
                // through, and has it for itself; nobody finds it.
                entry.set_registration(request.access, handle.0, None);
                entry.refs.publish_detached();
                self.has_extras.store(true, Ordering::Relaxed);
                let mut state = self.state.lock();
                self.entries.extra(index).mark_changed(request.range);
                let State { orphans, links, .. } = &mut *state;
                orphans.add(links, index);
                Attempt::Ended
            }
            Published::Rival(rival) => {
                self.deregister(index, request, handle);
                if self.is_current(self.entries.at(rival)) {
                    return Attempt::Done { index: rival, used };
                }
                self.put(self.entries.at(rival));
                Attempt::Changed
            }
        }
    }
}

impl State {
    /// Drops the live entries that `request` makes superfluous, whose entry is
    /// `heir` from now on. `pieces` takes over what watches parts of them.
    // Out of line: what overlaps nothing, as most, does without it.
    #[inline(never)]
    fn supersede(
        &mut self,
        entries: &Entries,
        request: &Request,
        heir: u32,
        mut pieces: Option<&mut Pieces>,
        retired: &mut List,
    ) {
        while let Some(index) = self
            .visit_superseded(entries, request, &mut ControlFlow::Break)
            .break_value()
        {
            if let Some(pieces) = &mut pieces {
                pieces.inherit(entries.at(index), entries.extra(index), request.access);
            }
            self.inherit_priority(entries, heir, index);
            self.drop_live(entries, index, Cause::Superseded, retired);
        }
    }
}
