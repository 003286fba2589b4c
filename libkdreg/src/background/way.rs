// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the library's threads get out of the way of real-time threads that poll,
//! or before them.

use super::processors::{processors_of, set_own_processors};
use super::realtime;
use super::spawn::Thread;
use super::terms::Terms;
use crate::log::{self, Level};
use std::sync::atomic::{AtomicBool, Ordering};

/// Called by a thread that registers memory. `handler` is whom others wait for.
#[inline]
pub(crate) fn notice(handler: &Thread) {
    if realtime::note_caller() {
        see_to(handler);
    }
}

/// As `notice`, by whoever has started the handler.
pub(crate) fn notice_all(handler: &Thread) {
    realtime::note_caller();
    if realtime::highest() > 0 {
        see_to(handler);
    }
}

#[cold]
fn see_to(handler: &Thread) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if realtime::elsewhere(&Terms::processors()).is_some() {
        return;
    }
    // SAFETY: no pointers.
    let most = unsafe { libc::sched_get_priority_max(libc::SCHED_FIFO) };
    let priority = realtime::highest().saturating_add(1).min(most);
    let Err(error) = handler.set_priority(priority) else {
        return;
    };
    if !SAID.swap(true, Ordering::Relaxed) {
        log::say(
            Level::Warn,
            format_args!(
                "real-time threads may use every processor, and the thread kdreg-events must not \
                 have a priority above theirs (CAP_SYS_NICE, RLIMIT_RTPRIO): while they poll, \
                 whoever unmaps registered memory waits: {error}"
            ),
        );
    }
}

/// Leaves a processor that a real-time thread may poll on. Called by the
/// library's threads before they sleep: they wake where they slept. System
/// calls only, and mostly none.
#[inline]
pub(crate) fn step_off() {
    if realtime::highest() > 0 {
        step_off_now();
    }
}

#[cold]
fn step_off_now() {
    // SAFETY: no preconditions.
    let here = unsafe { libc::sched_getcpu() };
    let here = usize::try_from(here).unwrap_or(0);
    if !realtime::is_taken(here) {
        return;
    }
    let all = processors_of(0);
    if let Some(left) = realtime::elsewhere(&all) {
        set_own_processors(&left);
        set_own_processors(&all);
    }
}
