// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for what other threads are undoing, for who flushes: what it was
//! registered in may go then.
//!
//! What nobody uses any more is deregistered by whoever comes by: callers, the
//! reaper, other caches of the group that make room. Who waits begins a round: it
//! marks all that is retired, or being told of, and whoever releases one of those
//! counts it. What is retired later has no mark, so a round ends whatever else is
//! going on. Who comes while there is one waits for the next, which is the same
//! for all who came meanwhile: so everybody waits for two at most.
//!
//! A retired entry stays so until its callbacks have returned, and is counted
//! under the lock after that, before its releaser registers anything: nobody waits
//! for a registration. One that is used, be it by a lookup that is about
//! to put it back, is released after its last put, as ever: it is not waited for.
//!
//! # Who waits for whom
//! Nobody waits inside a callback (`frames::inside_any`), and who is waited for is
//! in one, or about to be: there is no circle.

use super::Inner;
use super::entries::Entries;
use super::state::State;
use crate::interpreter;
use crate::lock::MutexGuard;
use crate::unwinding;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Entries looked at at a time, to hold the lock for short times.
const LOOKS: u32 = 1024;

/// How long to sleep before a look whether an interpreter has ended: it keeps threads
/// that are in callbacks of its own for ever.
const UNTIL_A_LOOK: Duration = Duration::from_millis(10);

impl State {
    /// An entry is released, or is not to be now.
    #[inline]
    pub(super) fn unmark(&mut self, entries: &Entries, index: u32) {
        if self.rounds.marked > 0 {
            self.unmark_any(entries, index);
        }
    }

    #[cold]
    #[inline(never)]
    fn unmark_any(&mut self, entries: &Entries, index: u32) {
        if entries.extra(index).set_awaited(false) {
            self.rounds.marked -= 1;
        }
    }

    /// Marks what is being undone of the slots from one on, up to another.
    fn mark(&mut self, entries: &Entries, from: u32, to: u32) {
        for index in from..to {
            let told_of = self.tells && entries.extra(index).cause().is_some();
            let undone = told_of || entries.at(index).refs.is_retired();
            if undone && !entries.extra(index).set_awaited(true) {
                self.rounds.marked += 1;
            }
        }
    }
}

impl Inner {
    /// Returns once all is deregistered that others were releasing, or telling of,
    /// when it was called; earlier where a callback does not return, or may not. Not to be
    /// called inside a callback, nor by who has retired something itself.
    pub(super) fn wait_for_others(&self) {
        let mut state = self.state.lock();
        if state.releasing == 0 && state.telling == 0 {
            return;
        }
        state.rounds.waiting += 1;
        // SeqCst: see `is_waited_for`.
        self.flushing.store(true, Ordering::SeqCst);
        let own = state.rounds.begun + 1;
        while !state.rounds.is_over(own) && !unwinding::is_held() && !interpreter::has_ended() {
            if state.rounds.is_idle() {
                state = self.begin_round(state);
            } else if state.backlog.is_empty() && state.untold.is_empty() {
                state = self.idle.wait_for(state, UNTIL_A_LOOK);
            } else {
                // Left by who calls no callback, or whose callback did not return,
                // where perhaps nobody else reaps.
                drop(state);
                self.release_backlog();
                state = self.state.lock();
            }
        }
        state.rounds.waiting -= 1;
        if state.rounds.waiting == 0 {
            self.flushing.store(false, Ordering::Relaxed);
        }
    }

    /// Marks what is being undone.
    fn begin_round<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.rounds.begun += 1;
        state.rounds.opening = true;
        // What takes a slot that is beyond this comes later.
        let used = state.used_slots();
        let mut from = State::FIRST_SLOT;
        while from < used {
            let to = used.min(from + LOOKS);
            state.mark(&self.entries, from, to);
            from = to;
            if from < used {
                drop(state);
                state = self.state.lock();
            }
        }
        state.rounds.opening = false;
        if state.rounds.is_idle() {
            drop(state);
            self.idle.notify_all();
            state = self.state.lock();
        }
        state
    }

    /// Whether an entry that the caller has just freed, and not settled, may have been
    /// marked. SeqCst: who waits has said so before it looked whether the entry was
    /// retired still. If it was, this is after that.
    #[inline]
    pub(super) fn is_waited_for(&self) -> bool {
        self.flushing.load(Ordering::SeqCst)
    }

    /// Something was released, or is left to others: for who waits for that.
    #[inline]
    pub(super) fn say_released(&self) {
        if self.flushing.load(Ordering::Relaxed) {
            self.idle.notify_all();
        }
    }
}
