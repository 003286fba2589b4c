// SPDX-License-Identifier: MIT OR Apache-2.0
//! Telling the caller of entries that are not to be found any more, and why.
//!
//! Entries are dropped under the lock and told of outside of it. What is dropped
//! while somebody is to be told of it is kept by a reference, in a list of its
//! own, until it has been: so it is told of before it is deregistered, once.
//! What is evicted is idle, and told of by who deregisters it.

use super::cause::Cause;
use super::entries::{Entries, Entry};
use super::links::List;
use super::refs::Put;
use super::state::State;
use super::{Handle, Inner};
use crate::range::Range;
use crate::unwinding;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

/// An entry that lookups do not find any more.
#[derive(Clone, Copy, Debug)]
pub struct Departure {
    /// Why.
    pub cause: Cause,
    /// What it registers; `None` for [`Cause::Lost`], which is of all.
    pub range: Option<Range>,
    /// Its rights.
    pub access: u32,
    /// What `register` returned.
    pub handle: Handle,
    /// The caller's bytes in it.
    pub data: *mut u8,
}

impl Inner {
    /// Tells of what was dropped, and then lets go of it. With no lock held.
    #[cold]
    pub(super) fn tell(&self) {
        while !unwinding::is_held() {
            let next = {
                let mut state = self.state.lock();
                let next = state.untold.pop(&self.entries);
                state.telling += usize::from(next.is_some());
                next
            };
            let Some(index) = next else { return };
            let entry = self.entries.at(index);
            self.tell_of(index);
            let retired = {
                // In one step for who asks whether anything is in use, or is being
                // released.
                let mut state = self.state.lock();
                state.telling -= 1;
                self.entries.extra(index).set_cause(None);
                if entry.refs.put() == Put::Detached && entry.refs.claim_detached() {
                    state.retire(index)
                } else {
                    // In use: whoever has it deregisters it.
                    state.unmark(&self.entries, index);
                    List::EMPTY
                }
            };
            if retired.is_empty() {
                self.say_released();
            } else {
                self.release_told(retired);
            }
        }
        self.leave_to_others();
    }

    /// Tells of one entry, which stays as it is meanwhile.
    pub(super) fn tell_of(&self, index: u32) {
        let Some(cause) = self.entries.extra(index).cause() else {
            return;
        };
        let entry = self.entries.at(index);
        self.say(&Departure {
            cause,
            range: Some(entry.range()),
            access: entry.access(),
            handle: Handle(entry.handle()),
            data: self.entries.data(index),
        });
    }

    pub(super) fn say(&self, departure: &Departure) {
        self.call(|| self.registrar.departed(departure));
    }

    /// The backend has stopped: said once.
    #[cold]
    pub(super) fn say_lost(&self) {
        if self.tells && !self.lost.swap(true, Ordering::Relaxed) {
            self.say(&Departure {
                cause: Cause::Lost,
                range: None,
                access: 0,
                handle: Handle(0),
                data: std::ptr::null_mut(),
            });
        }
    }

    /// References on an entry that are this module's own.
    pub(super) fn untold_references(&self, index: u32) -> u64 {
        u64::from(self.tells && self.entries.extra(index).cause().is_some())
    }

    /// Calls `visit` with each entry that can be found, which is in use
    /// meanwhile. What comes or goes meanwhile may be among them or not.
    pub(super) fn each(&self, mut visit: impl FnMut(&Entry) -> ControlFlow<()>) {
        let used = self.state.lock().used_slots();
        for index in 0..used {
            let entry = self.entries.at(index);
            if !entry.refs.is_live() {
                continue;
            }
            if let Err(put) = entry.refs.take() {
                self.after_unused(entry, put);
                continue;
            }
            let flow = self.call(|| visit(entry));
            self.put(entry);
            if flow.is_break() || unwinding::is_held() {
                return;
            }
        }
    }
}

impl State {
    /// Keeps a live entry that is about to be dropped until it has been told of.
    pub(super) fn keep_untold(&mut self, entries: &Entries, index: u32, cause: Cause) {
        // Live, under the lock: granted.
        let taken = entries.at(index).refs.take();
        debug_assert!(taken.is_ok());
        entries.extra(index).set_cause(Some(cause));
        self.untold.push(entries, index);
    }
}
