// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dropping one entry, and all of them for good: with a word when it is done.
//!
//! # Draining
//! `State::draining`, once set, has no slot taken any more and nothing become an
//! entry, nor is a prefetch accepted. So when the last slot has been given back,
//! and the last prefetch is done, nothing is registered and nothing will be. Both
//! happen under the lock: whoever gives the last slot back, or does the last
//! prefetch, sees that the cache is draining, or whoever drains it sees that it was
//! the last.

use super::Inner;
use super::cause::Cause;
use super::entries::{Entries, Entry};
use super::extras::Extra;
use super::links::List;
use super::state::State;
use super::waiting::{Done, Waiting};
use crate::errno::Errno;
use crate::race_detector::take_over;
use crate::range::Range;
use crate::unwinding;
use std::sync::atomic::Ordering;

impl Inner {
    /// Ends the findability of an entry that a C caller holds, and has `done`
    /// called when it has been deregistered.
    pub(crate) fn drop_checked(
        &self,
        entry: *const Entry,
        done: Option<Done>,
    ) -> Result<(), Errno> {
        self.home.check()?;
        let index = self.entries.index_of(self.held_entry(entry)?);
        let waiting = done.map(Waiting::new).transpose()?;
        let mut retired = List::EMPTY;
        {
            let mut state = self.state.lock();
            if let Some(waiting) = waiting {
                self.has_extras.store(true, Ordering::Relaxed);
                self.entries.extra(index).waiting.push(waiting);
            }
            if self.entries.at(index).refs.is_live() {
                state.drop_live(&self.entries, index, Cause::Dropped, &mut retired);
            }
        }
        self.release(retired);
        Ok(())
    }

    /// Calls what waits for an entry that has been deregistered.
    #[cold]
    pub(super) fn call_waiting(&self, extra: &Extra) {
        for done in extra.waiting.take() {
            self.call(|| (done.call)(done));
        }
    }

    /// Evicts idle entries, the least recently used first, until so many bytes
    /// have been deregistered or none is left; returns how many entries.
    pub(crate) fn evict(&self, bytes: usize) -> Result<usize, Errno> {
        self.home.check()?;
        let (mut freed, mut evicted) = (0, 0);
        while freed < bytes && !unwinding::is_held() {
            let mut retired = List::EMPTY;
            if !(self.state.lock()).evict_one(&self.entries, None, &mut retired) {
                break;
            }
            freed += self.length_of(retired);
            evicted += self.release_now(retired);
        }
        Ok(evicted)
    }

    /// Drops every entry, and releases what nobody holds; returns how many were dropped.
    pub(super) fn release_all(&self) -> usize {
        let everything = Range::between(0, 1 << (usize::BITS - 1));
        let dropped = self.drop_overlapping(everything, Cause::Flushed);
        self.release_backlog();
        dropped
    }

    /// Has nothing registered any more, drops everything, and has `done` called
    /// when nothing is in use or registered; without, waits until then.
    ///
    /// # Errors
    /// `EALREADY`: something else is to be called already; `EDEADLK`: would wait
    /// for the callback that it is called in.
    pub(crate) fn drain(&self, done: Option<Done>) -> Result<(), Errno> {
        self.home.check()?;
        if done.is_none() && self.waits_for_callback() {
            return Err(Errno::EDEADLK);
        }
        {
            let mut state = self.state.lock();
            if done.is_some() {
                if state.drained.is_some() {
                    drop(state);
                    self.drain_ahead();
                    return Err(Errno::EALREADY);
                }
                state.drained = done;
            }
            state.draining = true;
            // Relaxed: who must see it had the lock after this.
            self.draining.store(true, Ordering::Relaxed);
        }
        self.release_all();
        self.drain_ahead();
        self.finish_draining();
        if done.is_none() {
            self.wait_until_drained()?;
            take_over();
        }
        Ok(())
    }

    /// Waits until nothing is registered in a cache that is being drained.
    ///
    /// # Errors
    /// `ESCAPED`: a callback did not return, and its thread is not to stay here.
    fn wait_until_drained(&self) -> Result<(), Errno> {
        let mut state = self.state.lock();
        while !state.is_drained() {
            if unwinding::is_held() {
                return Err(Errno::ESCAPED);
            }
            if state.ahead.is_left() {
                drop(state);
                self.drain_ahead();
                state = self.state.lock();
            } else if state.backlog.is_empty() && state.untold.is_empty() {
                state = self.idle.wait(state);
            } else {
                // Left by who calls no callback, or whose callback did not return,
                // where perhaps nobody else reaps.
                drop(state);
                self.release_backlog();
                state = self.state.lock();
            }
        }
        Ok(())
    }

    /// Says so if a cache that is being drained is.
    #[cold]
    pub(super) fn finish_draining(&self) {
        let done = {
            let mut state = self.state.lock();
            if !state.is_drained() {
                return;
            }
            state.drained.take()
        };
        self.idle.notify_all();
        if let Some(done) = done {
            self.call(|| (done.call)(done));
        }
    }
}

impl State {
    /// Whether nothing is registered, nor to be, where `draining` is set.
    fn is_drained(&self) -> bool {
        self.taken == 0 && !self.ahead.is_busy()
    }

    /// Notes of what is in use, and cannot be found, that `range` has changed.
    #[cold]
    pub fn mark_orphans(&mut self, entries: &Entries, range: Range) {
        self.orphans.retain(&mut self.links, |index| {
            if entries.at(index).range().overlaps(range) {
                entries.extra(index).mark_changed(range);
            }
            true
        });
    }
}
