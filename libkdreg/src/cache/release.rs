// SPDX-License-Identifier: MIT OR Apache-2.0
//! Releasing what nobody can find or use any more.

use super::cause::Cause;
use super::entries::Entries;
use super::links::List;
use super::request::Request;
use super::state::State;
use super::{Handle, Inner, Registration};
use crate::errno::Errno;
use crate::log::{self, Level};
use crate::monitor::{Event, Reason, RegionName};
use crate::range::Range;
use crate::unwinding;
use std::sync::atomic::Ordering;

/// Events taken in at a time.
const EVENTS: usize = 32;

/// An entry that was released, but for its slot, which is to be given back,
/// and the count of deregistrations: see [`State::settle`].
#[must_use = "the slot would be lost"]
pub(super) struct Spent(Option<u32>);

impl Spent {
    pub const NOTHING: Spent = Spent(None);

    /// How many entries it stands for.
    pub fn count(&self) -> usize {
        usize::from(self.0.is_some())
    }
}

impl State {
    /// One entry that was claimed, to be released.
    pub(super) fn retire(&mut self, index: u32) -> List {
        let mut retired = List::EMPTY;
        let State {
            orphans,
            links,
            releasing,
            ..
        } = self;
        orphans.take(links, index);
        *releasing += 1;
        retired.push(links, index);
        retired
    }

    /// Gives the slot of a released entry back, and counts it. Who waits for that
    /// is to be told of it when the lock is let go ([`Inner::say_released`]).
    pub(super) fn settle(&mut self, entries: &Entries, spent: Spent) {
        if let Spent(Some(index)) = spent {
            self.counts.deregistrations += 1;
            self.releasing -= 1;
            self.unmark(entries, index);
            self.give_slot(index);
        }
    }
}

#[cold]
fn say_registered(range: Range, access: u32, result: Result<Handle, Errno>) {
    log::say(
        Level::Debug,
        format_args!("register {range:?} access {access:#x}: {result:?}"),
    );
}

#[cold]
fn say_deregistered(range: Range, handle: Handle) {
    log::say(
        Level::Debug,
        format_args!("deregister {range:?} {handle:?}"),
    );
}

impl Inner {
    /// Has the caller's `register` register a range for a slot. Success is to be counted
    /// by the caller. Not any more once a callback did not return.
    #[inline(always)]
    pub(super) fn register(&self, slot: u32, request: &Request) -> Result<Handle, Errno> {
        if unwinding::is_held() {
            return Err(Errno::ESCAPED);
        }
        self.entries.clear_data(slot);
        let registration = Registration {
            range: request.range,
            access: request.access,
            arg: request.terms.arg,
            speculative: request.terms.speculative,
            data: self.entries.data(slot),
        };
        let result = self.call(|| self.registrar.register_with(&registration));
        if log::enabled(Level::Debug) {
            say_registered(request.range, request.access, result);
        }
        if result.is_err() {
            self.state.lock().counts.register_failures += 1;
        }
        result
    }

    /// Has the caller's `deregister` undo a registration, which nobody else
    /// could: whether or not a callback returned before.
    pub(super) fn deregister(&self, slot: u32, request: &Request, handle: Handle) {
        self.undo(slot, request.range, request.access, handle);
        self.state.lock().counts.deregistrations += 1;
    }

    /// As `deregister`, to be counted by the caller.
    #[inline(always)]
    pub(super) fn undo(&self, slot: u32, range: Range, access: u32, handle: Handle) {
        if log::enabled(Level::Debug) {
            say_deregistered(range, handle);
        }
        let registration = Registration {
            range,
            access,
            arg: 0,
            speculative: false,
            data: self.entries.data(slot),
        };
        self.call(|| self.registrar.deregister_with(&registration, handle));
    }

    /// Releases retired entries: now, or, within `max_unreleased`, soon.
    pub(super) fn release(&self, retired: List) {
        if self.tells {
            self.tell();
        }
        self.release_told(retired);
    }

    /// As `release`, after others were told of what was dropped.
    pub(super) fn release_told(&self, mut retired: List) {
        if self.options.max_unreleased == 0 || unwinding::is_held() {
            self.release_now(retired);
            return;
        }
        let mut now = List::EMPTY;
        let mut left = false;
        if !retired.is_empty() {
            let mut state = self.state.lock();
            while let Some(index) = retired.pop(&mut state.links) {
                let length = self.entries.at(index).range().len();
                if state.backlog_bytes.saturating_add(length) <= self.options.max_unreleased {
                    let mut backlog = state.backlog;
                    backlog.push(&mut state.links, index);
                    state.backlog = backlog;
                    state.backlog_bytes += length;
                    left = true;
                } else {
                    now.push(&mut state.links, index);
                }
            }
        }
        if left {
            self.say_released();
            self.monitor.wake();
        }
        self.release_now(now);
    }

    /// As [`State::settle`].
    pub(super) fn settle(&self, spent: Spent) {
        self.state.lock().settle(&self.entries, spent);
        self.say_released();
    }

    /// One entry that the caller claimed, to be released.
    pub(super) fn retire(&self, index: u32) -> List {
        self.state.lock().retire(index)
    }

    /// Unmonitors and deregisters retired entries and frees their slots;
    /// returns how many. Once a callback did not return the rest is left.
    pub(super) fn release_now(&self, mut retired: List) -> usize {
        let mut released = 0;
        let mut next = retired.first();
        while let Some(index) = next {
            if unwinding::is_held() {
                self.leave(retired);
                break;
            }
            let spent = self.undo_entry(index);
            let mut state = self.state.lock();
            retired.pop(&mut state.links);
            state.settle(&self.entries, spent);
            released += 1;
            next = retired.first();
        }
        self.say_released();
        if self.draining.load(Ordering::Relaxed) {
            self.finish_draining();
        }
        released
    }

    /// As `release`, by a caller that registers, and takes the lock after that in any
    /// case: the slot of the last one is left to it, unless somebody waits for that.
    pub(super) fn release_leaving(&self, mut retired: List) -> Spent {
        if self.tells {
            self.tell();
        }
        if self.options.max_unreleased > 0 {
            self.release(retired);
            return Spent::NOTHING;
        }
        while let Some(index) = retired.first() {
            if unwinding::is_held() {
                self.leave(retired);
                break;
            }
            let spent = self.undo_entry(index);
            if retired.ends_with(index) {
                if !self.is_waited_for() {
                    return spent;
                }
                self.settle(spent);
                break;
            }
            let mut state = self.state.lock();
            retired.pop(&mut state.links);
            state.settle(&self.entries, spent);
        }
        Spent::NOTHING
    }

    /// Leaves retired entries to the reaper, or to the next call that releases.
    #[cold]
    pub(super) fn leave(&self, mut retired: List) {
        {
            let mut state = self.state.lock();
            let mut backlog = state.backlog;
            while let Some(index) = retired.pop(&mut state.links) {
                backlog.push(&mut state.links, index);
                state.backlog_bytes += self.entries.at(index).range().len();
            }
            state.backlog = backlog;
        }
        self.leave_to_others();
    }

    /// Something is left to be done by the reaper, by whoever calls next, or by
    /// who waits for it.
    #[cold]
    pub(super) fn leave_to_others(&self) {
        if self.draining.load(Ordering::Relaxed) {
            self.idle.notify_all();
        }
        self.say_released();
        self.monitor.wake();
    }

    /// Ends a watch. Where nobody comes by later, memory in which nothing is
    /// monitored any more is let go at once.
    pub(super) fn unmonitor(&self, name: RegionName) {
        if self.options.no_reaper {
            self.monitor.unmonitor_name(name);
        } else {
            self.monitor.unmonitor_lazily(name);
        }
    }

    /// Unmonitors and deregisters a retired entry, which holds nothing any more
    /// then.
    fn undo_entry(&self, index: u32) -> Spent {
        // SAFETY: what was retired has a slot, which is committed.
        let entry = unsafe { self.entries.at_unchecked(index) };
        if self.tells {
            self.tell_of(index);
            self.entries.extra(index).set_cause(None);
        }
        let others = self.has_extras.load(Ordering::Relaxed)
            && self.release_watches(self.entries.extra(index));
        if let Some(name) = entry.watched() {
            if !others {
                self.unmonitor(name);
            }
            // While the slot is this entry's.
            let offset = self.entries.offset_of(entry);
            self.page_index.forget(entry.start(), offset);
        }
        let handle = Handle(entry.handle());
        self.undo(index, entry.range(), entry.access(), handle);
        if self.has_extras.load(Ordering::Relaxed) {
            self.call_waiting(self.entries.extra(index));
        }
        entry.refs.free();
        Spent(Some(index))
    }

    /// Tells of what is still to be told of, and releases what was left to the
    /// reaper; returns how many entries.
    pub(super) fn release_backlog(&self) -> usize {
        if self.tells {
            // A callback that did not return may have left some, which are kept
            // until then.
            self.tell();
        }
        if unwinding::is_held() {
            return 0;
        }
        let backlog = {
            let mut state = self.state.lock();
            state.backlog_bytes = 0;
            std::mem::replace(&mut state.backlog, List::EMPTY)
        };
        self.release_now(backlog)
    }

    /// Drops what changed and releases what waits; returns how many entries
    /// were released.
    pub(super) fn reap(&self) -> usize {
        let mut released = 0;
        let mut lost = false;
        let mut events = [Event::default(); EVENTS];
        while let Ok(count) = self.monitor.drain(&mut events) {
            let mut retired = List::EMPTY;
            if count > 0 {
                let mut state = self.state.lock();
                let mut batch = [0; EVENTS];
                let mut changed = 0;
                for event in &events[..count] {
                    lost |= event.reason == Reason::Lost;
                    // The cookie is the entry's index. The entry may have been
                    // released and be another one by now: only one that did
                    // change is dropped.
                    let index = event.cookie as u32;
                    let entry = self.entries.at(index);
                    if entry.refs.is_live() && entry.has_changed() {
                        batch[changed] = index;
                        changed += 1;
                    }
                }
                let batch = &batch[..changed];
                state.drop_all(&self.entries, batch, Cause::Changed, &mut retired);
            }
            if lost {
                self.say_lost();
            }
            if self.tells {
                self.tell();
            }
            released += self.release_now(retired);
            if count < events.len() || unwinding::is_held() {
                break;
            }
        }
        released + self.release_backlog()
    }
}
