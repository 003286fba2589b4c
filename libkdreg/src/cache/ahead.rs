// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registering ahead of use, by a thread of the cache's own: for who cannot wait
//! for a large registration.
//!
//! The thread begins with the first prefetch, and ends with the cache. It takes
//! one prefetch after the other and gets what it asks for as any caller does: so
//! all that is argued of `get` holds of it, and what two of them ask for, the
//! second finds. Who polls ([`Cache::try_get`]) finds the entry in the cache, and
//! nowhere else: nothing is kept for it that is not watched. So what it asks for
//! is not registered where it cannot be kept (`Terms::flags`); that, and
//! what fails, it is told once.
//!
//! Everything here is protected by the cache's lock, and so is `draining`: a
//! prefetch is accepted before a drain begins, and then the drain waits for it
//! (it fails for want of a slot, unless it had one before), or is refused.

mod exit;

use super::asking::Ask;
use super::prefetches::{self, Joined, Prefetch, Ready};
use super::state::State;
use super::{Cache, Held, Inner};
use crate::background::{self, Stack, way};
use crate::errno::Errno;
use crate::log::{self, Level};
use crate::memory::Share;
use crate::range::Range;
use crate::{interpreter, pause, unwinding};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long the thread leaves the process alone when it finds that an interpreter
/// has ended: it is likely to end as well, and callbacks may be the interpreter's.
const REST: Duration = Duration::from_secs(1);

impl Cache {
    /// As [`Cache::get_with`], but never registers: where nothing is found the
    /// cache's own thread begins to, and it is found later.
    ///
    /// # Errors
    /// `EAGAIN`: it is being registered, or waits for it; once, what became of an
    /// earlier one: what `register` returned, `ENOENT` where it cannot be kept,
    /// `ECANCELED` where a callback did not return; `ENOBUFS`: too many wait;
    /// `ESHUTDOWN`; `EINVAL` for a bad alignment; `ENOMEM`.
    pub fn try_get(&self, range: Range, access: u32, ask: Ask) -> Result<Held<'_>, Errno> {
        let terms = self.inner.terms(ask)?;
        match self.find(range, access) {
            Err(error) if error == Errno::ENOENT => {
                let prefetch = Prefetch::new(range, access, terms, None);
                Err(match self.ask_ahead(&prefetch, true) {
                    Ok(()) => Errno::EAGAIN,
                    Err(error) => error,
                })
            }
            found => found,
        }
    }

    /// Has the cache's own thread get something: for `ready`, which is called with
    /// the entry, or to be found later.
    ///
    /// # Errors
    /// As [`Cache::try_get`], but for what is said of an earlier one.
    pub(crate) fn prefetch(
        &self,
        range: Range,
        access: u32,
        ask: Ask,
        ready: Option<Ready>,
    ) -> Result<(), Errno> {
        self.inner.home.check()?;
        let terms = self.inner.terms(ask)?;
        self.ask_ahead(&Prefetch::new(range, access, terms, ready), false)
    }

    /// Accepts a prefetch, unless it is one with another.
    #[cold]
    fn ask_ahead(&self, prefetch: &Prefetch, polls: bool) -> Result<(), Errno> {
        let inner = &*self.inner;
        loop {
            {
                let mut state = inner.state.lock();
                // What is accepted while a thread is being started would wait
                // for ever if it could not be.
                while state.ahead.is_expecting() {
                    if state.ahead.is_expected_here() {
                        return Err(Errno::ENOMEM);
                    }
                    state = inner.idle.wait(state);
                }
                if state.draining || state.ahead.is_ending() || exit::has_begun() {
                    return Err(Errno::ESHUTDOWN);
                }
                match state.ahead.join(prefetch, polls) {
                    Joined::Alike => return Ok(()),
                    Joined::Failed(error) => return Err(error),
                    Joined::Full => return Err(Errno::ENOBUFS),
                    Joined::Accepted => {
                        drop(state);
                        inner.work.notify_all();
                        return Ok(());
                    }
                    Joined::Nobody => {}
                }
            }
            // Memory, and a thread, outside the lock.
            let room = prefetches::room()?;
            let (starts, spare) = inner.state.lock().ahead.prepare(room);
            drop(spare);
            if starts {
                exit::watch();
                interpreter::look();
                start(&self.inner)?;
            }
        }
    }
}

/// Starts the thread that the queue expects.
fn start(inner: &Share<Inner>) -> Result<(), Errno> {
    let its = inner.clone();
    let thread = background::spawn(c"kdreg-ahead", Stack::Ordinary, move || {
        if its.serve(true) {
            have_followed(&its);
        }
    });
    let (thread, result) = match thread {
        Ok(thread) => (Some(thread), Ok(())),
        Err(error) => (None, Err(error)),
    };
    let draining = inner.step(|state| {
        state.ahead.expected(thread);
        state.draining
    });
    if draining && result.is_err() {
        // What waits is told of by who drains, or reaps.
        inner.leave_to_others();
    }
    result
}

/// A callback ended the calling thread, the cache's own: another one takes its
/// place, unless it was to end.
#[cold]
fn have_followed(inner: &Share<Inner>) {
    let Some(own) = inner.state.lock().ahead.expect_another() else {
        return;
    };
    // On its own: nobody waits for it any more.
    drop(own);
    if let Err(error) = start(inner) {
        log::say(
            Level::Warn,
            format_args!(
                "a callback ended the thread that registers ahead, and there is no other: what \
                 waits for it does until the next is asked for, or the cache is drained: {error}"
            ),
        );
    }
}

/// Whether an exception left a callback in the cache's own thread, where it ends.
fn end_exception() -> bool {
    background::end_exception("the thread that registers ahead")
}

/// Whether the calling thread is to call nothing more, since a callback did not
/// return. In the cache's own an exception ends, and it goes on.
fn is_to_stop(own_thread: bool) -> bool {
    if own_thread {
        end_exception();
    }
    unwinding::is_held()
}

impl Inner {
    /// Does what waits, one after the other: until the cache ends, or nothing is
    /// left for who does not stay. Whether a callback ended the calling thread.
    fn serve(&self, stays: bool) -> bool {
        let mut rested = !stays;
        if self.draining.load(Ordering::Relaxed) {
            // Left by one that a callback ended.
            self.finish_draining();
            if is_to_stop(stays) {
                return true;
            }
        }
        loop {
            if stays {
                way::step_off();
            }
            let prefetch = {
                let mut state = self.state.lock();
                loop {
                    if stays && state.ahead.is_ending() {
                        return false;
                    }
                    match state.ahead.next(stays) {
                        Some(prefetch) => break prefetch,
                        None if stays => state = self.work.wait(state),
                        None => return false,
                    }
                }
            };
            if !rested && interpreter::has_ended() {
                // Once: it may have been a part of a program that goes on.
                rested = true;
                pause::sleep(REST);
            }
            // Who drains the cache does so in a call of its own.
            let busy = exit::Busy::new();
            if stays && busy.is_none() {
                let own = self.step(|state| state.ahead.give_up());
                drop(own);
                return false;
            }
            self.do_ahead(prefetch, stays);
            if is_to_stop(stays) {
                return true;
            }
        }
    }

    /// Does one thing, and says so.
    fn do_ahead(&self, prefetch: Prefetch, own_thread: bool) {
        let mut outcome = match prefetch.failed {
            None => self.get_asking(prefetch.range, prefetch.access, prefetch.terms),
            Some(error) => Err(error),
        };
        if outcome == Err(Errno::ESCAPED) {
            outcome = Err(Errno::ECANCELED);
            if prefetch.ready.is_some() && !(own_thread && end_exception()) {
                // This thread is to call nothing more.
                let draining = self.step(|state| {
                    state.ahead.put_back(Errno::ECANCELED);
                    state.draining
                });
                if draining {
                    self.leave_to_others();
                }
                return;
            }
        }
        if let Some(ready) = prefetch.ready {
            // It is about to be told: what it holds from then on counts.
            self.state.lock().ahead.paid();
            let entry = outcome.map(|index| std::ptr::from_ref(self.entries.at(index)).cast());
            self.call(|| (ready.call)(ready, entry));
        } else if let Ok(index) = outcome {
            // To be found, where it is cached.
            self.put(self.entries.at(index));
        }
        let draining = self.step(|state| {
            let told = prefetch.ready.is_some() || state.draining;
            state.ahead.finish(outcome.err().filter(|_| !told));
            state.draining
        });
        if draining && is_to_stop(own_thread) {
            self.leave_to_others();
        } else if draining {
            self.finish_draining();
        }
    }

    /// Ends what was being done, or who does it, as `end` says: for who waits for
    /// that, and for who is to do the next.
    fn step<T>(&self, end: impl FnOnce(&mut State) -> T) -> T {
        let result = end(&mut self.state.lock());
        self.work.notify_all();
        self.idle.notify_all();
        result
    }

    /// Whether somebody is still to be told of something.
    pub(super) fn owes_ahead(&self) -> bool {
        self.state.lock().ahead.owes()
    }

    /// Looks at something while the cache's own thread holds nothing of its own: waits
    /// for the one prefetch that it does, unless that is to be handed to somebody.
    /// Not to be called from one of its callbacks.
    pub(super) fn while_it_holds_nothing<T>(&self, look: impl FnOnce() -> T) -> T {
        let mut state = self.state.lock();
        state.ahead.pause();
        while state.ahead.does_to_be_found() {
            state = self.idle.wait(state);
        }
        drop(state);
        let seen = look();
        self.step(|state| state.ahead.go_on());
        seen
    }

    /// In a cache that is being drained, what waits ends: by its own thread, or
    /// here where there is none any more.
    pub(super) fn drain_ahead(&self) {
        if self.state.lock().ahead.is_left() {
            self.serve(false);
        }
    }

    /// As `reap`, by who may call all callbacks: in a cache that is being drained
    /// `drain_ahead` as well, since who drains it may not have stayed.
    pub(super) fn reap_all(&self) -> usize {
        let released = self.reap();
        if self.draining.load(Ordering::Relaxed) && !unwinding::is_held() {
            self.drain_ahead();
        }
        released
    }

    /// Ends the thread, when it is done with what it had begun; what waits is not
    /// done any more, and nothing is accepted until the cache begins again
    /// (`Cache::begin`). Not to be called from one of its callbacks.
    pub(super) fn end_ahead(&self) {
        let mut state = self.state.lock();
        state.ahead.end();
        self.work.notify_all();
        loop {
            if let Some(thread) = state.ahead.take_thread() {
                drop(state);
                thread.join();
                state = self.state.lock();
                state.ahead.is_gone();
            } else if state.ahead.is_expecting() {
                state = self.idle.wait(state);
            } else {
                break;
            }
        }
        let emptied = state.ahead.empty();
        drop(state);
        drop(emptied);
    }
}
