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
//! * start elsewhere (`terms`), and go elsewhere before they sleep (`way`);
//! * where there is no elsewhere, are given a priority above theirs: that is the
//!   handler's alone, for which others wait.
//!
//! A real-time thread that only changes mappings, and never registers any, is
//! not known here.

use super::processors::{Processors, WORDS, processors_of};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

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

/// The highest priority of a thread that was taken note of; 0: there are none.
#[inline]
pub(super) fn highest() -> i32 {
    HIGHEST.load(Ordering::Relaxed)
}

/// Whether a thread that was taken note of may run on this processor.
pub(super) fn is_taken(processor: usize) -> bool {
    let taken = |word: &AtomicU64| word.load(Ordering::Relaxed) >> (processor % 64) & 1 == 1;
    TAKEN.get(processor / 64).is_some_and(taken)
}
