// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real-time threads of the application's that poll, and a handler for which
//! another thread waits.
//!
//! An ordinary thread that was woken on a processor where a real-time thread
//! polls stays there: the scheduler does not move a single one away. Whoever
//! waits for it, inside munmap(2), waits for as long as the other polls, or for
//! the share of time that the kernel keeps for ordinary threads, if it does.
//! So real-time threads that register memory are taken note of, with the
//! processors that they may use, and ours
//! * start elsewhere, and go elsewhere before they sleep (`step_off`);
//! * where there is no elsewhere, are given a priority above theirs: that is the
//!   handler's alone, for which others wait.
//!
//! A real-time thread that only changes mappings, and never registers any, is
//! not known here.

use super::spawn::Thread;
use super::terms::{Processors, Terms, WORDS, processors_of};
use crate::log::{self, Level};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

/// The processors that real-time threads may use which registered memory.
/// Relaxed throughout: words are only added to, and nothing follows from them
/// but where a thread runs.
static TAKEN: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

/// The highest priority among those threads; 0: there are none.
static HIGHEST: AtomicI32 = AtomicI32::new(0);

/// The real-time priority of the calling thread; 0: it is an ordinary one.
fn own_priority() -> i32 {
    const DEADLINE: i32 = 6;
    // SAFETY: no pointers.
    let policy = unsafe { libc::sched_getscheduler(0) } & !libc::SCHED_RESET_ON_FORK;
    match policy {
        libc::SCHED_FIFO | libc::SCHED_RR => {
            let mut parameters = libc::sched_param { sched_priority: 0 };
            // SAFETY: writes a local variable.
            unsafe { libc::sched_getparam(0, &raw mut parameters) };
            parameters.sched_priority.max(1)
        }
        // Above all of those; not to be outdone, but known.
        DEADLINE => i32::MAX,
        _ => 0,
    }
}

/// Takes note of the calling thread, if it is a real-time one; whether that was
/// news.
pub(super) fn note_caller() -> bool {
    let priority = own_priority();
    if priority == 0 {
        return false;
    }
    let mut news = HIGHEST.fetch_max(priority, Ordering::Relaxed) < priority;
    for (taken, own) in TAKEN.iter().zip(processors_of(0)) {
        news |= own & !taken.fetch_or(own, Ordering::Relaxed) != 0;
    }
    news
}

/// `all` without the processors that real-time threads poll on, unless that
/// leaves none.
pub(super) fn elsewhere(all: &Processors) -> Option<Processors> {
    let mut left = *all;
    for (word, taken) in left.iter_mut().zip(&TAKEN) {
        *word &= !taken.load(Ordering::Relaxed);
    }
    left.iter().any(|&word| word != 0).then_some(left)
}

/// Called by a thread that registers memory. `handler` is whom others wait for.
#[inline]
pub(crate) fn notice(handler: &Thread) {
    if note_caller() {
        see_to(handler);
    }
}

/// As `notice`, by whoever has started the handler.
pub(crate) fn notice_all(handler: &Thread) {
    note_caller();
    if HIGHEST.load(Ordering::Relaxed) > 0 {
        see_to(handler);
    }
}

#[cold]
fn see_to(handler: &Thread) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if elsewhere(&Terms::processors()).is_some() {
        return;
    }
    // SAFETY: no pointers.
    let most = unsafe { libc::sched_get_priority_max(libc::SCHED_FIFO) };
    let priority = HIGHEST.load(Ordering::Relaxed).saturating_add(1).min(most);
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
    if HIGHEST.load(Ordering::Relaxed) > 0 {
        step_off_now();
    }
}

#[cold]
fn step_off_now() {
    // SAFETY: no preconditions.
    let here = unsafe { libc::sched_getcpu() };
    let here = usize::try_from(here).unwrap_or(0);
    let taken = |word: &AtomicU64| word.load(Ordering::Relaxed) >> (here % 64) & 1 == 1;
    if !TAKEN.get(here / 64).is_some_and(taken) {
        return;
    }
    let all = processors_of(0);
    if let Some(left) = elsewhere(&all) {
        set_own_processors(&left);
        set_own_processors(&all);
    }
}

/// Has the calling thread run on these processors. What is refused stays as it
/// is.
pub(super) fn set_own_processors(set: &Processors) {
    // SAFETY: reads a set of this many bytes.
    unsafe {
        libc::syscall(
            libc::SYS_sched_setaffinity,
            0,
            size_of_val(set),
            set.as_ptr(),
        )
    };
}
