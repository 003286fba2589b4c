// SPDX-License-Identifier: MIT OR Apache-2.0
//! On what terms the library's threads run: the process's, not those of the
//! thread that happened to start them.
//!
//! * Processors: those that the process was given when the library was loaded
//!   (`taskset`, a launcher's binding), and those that its main thread and the
//!   starting thread may use now. So a thread that has bound itself to one
//!   processor does not bind ours, and a process that was bound stays so.
//!   (Bound before it loads the library by dlopen(3), a process looks like one
//!   that was started so.)
//! * Policy: `SCHED_OTHER`. Niceness and timer slack: as when the library was
//!   loaded, or the main thread's niceness where that is less. Less than the
//!   starting thread's needs `CAP_SYS_NICE` or `RLIMIT_NICE`; without, it
//!   stays what it is.
//! * Credentials and capabilities are the starting thread's: the C library
//!   changes them in all threads at once, and ends the process when one of
//!   them may not what the others may.

use super::processors::{Processors, WORDS, processors_of, set_own_processors};
use super::realtime::{elsewhere, note_caller};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};

/// What the process was given when the library was loaded. Written by whoever
/// comes first, at load time but for programs that leave out the constructor.
/// Relaxed, and `KNOWN` Release/Acquire.
static PROCESSORS: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];
static NICENESS: AtomicI32 = AtomicI32::new(0);
static SLACK: AtomicUsize = AtomicUsize::new(0);
static KNOWN: AtomicBool = AtomicBool::new(false);

/// Run by the dynamic loader, before main() or inside dlopen(3).
#[cfg(not(miri))] // which has not all of these system calls
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD_TIME: extern "C" fn() = learn;

/// Takes note of what the process was given. A second time, or in two threads
/// at once, nothing is wrong either: words are only added to.
extern "C" fn learn() {
    if KNOWN.load(Ordering::Acquire) {
        return;
    }
    for (word, own) in PROCESSORS.iter().zip(processors_of(0)) {
        word.store(own, Ordering::Relaxed);
    }
    NICENESS.store(niceness_of(0), Ordering::Relaxed);
    // SAFETY: no pointers.
    let slack = unsafe { libc::prctl(libc::PR_GET_TIMERSLACK) };
    SLACK.store(usize::try_from(slack).unwrap_or(0), Ordering::Relaxed);
    KNOWN.store(true, Ordering::Release);
}

/// The niceness of a thread; 0: of the calling one.
fn niceness_of(thread: libc::pid_t) -> c_int {
    // SAFETY: no pointers. The system call itself, whose result needs no errno:
    // it is 20 less the niceness, or negative for an error.
    match unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, thread) } {
        shifted @ 1..=40 => 20 - shifted as c_int,
        _ => 0,
    }
}

/// What a new thread is to take on by itself, and what its creator does for it.
///
/// What is the same for the creator is not set: programs run under filters of
/// system calls that do not let them, and may be ended for trying.
pub(super) struct Terms {
    /// All zero: not to be known.
    processors: Processors,
    /// Those to begin on, where the creator's are others.
    begin_on: Option<Processors>,
    /// Whether the creator has a policy of its own.
    has_policy: bool,
    niceness: c_int,
    slack: usize,
}

impl Terms {
    /// As things are now.
    pub fn now() -> Terms {
        learn();
        note_caller();
        // The main thread's number is the process's.
        // SAFETY: no preconditions.
        let main = unsafe { libc::getpid() };
        let processors = Terms::processors();
        let begin_on = elsewhere(&processors).unwrap_or(processors);
        Terms {
            processors,
            begin_on: (begin_on != processors_of(0)).then_some(begin_on),
            // SAFETY: no pointers.
            has_policy: unsafe { libc::sched_getscheduler(0) } != libc::SCHED_OTHER,
            niceness: NICENESS.load(Ordering::Relaxed).min(niceness_of(main)),
            slack: SLACK.load(Ordering::Relaxed),
        }
    }

    /// The processors for a new thread; empty: not to be known.
    pub fn processors() -> Processors {
        learn();
        let mut set = processors_of(0);
        // SAFETY: no preconditions.
        let main = processors_of(unsafe { libc::getpid() });
        for ((all, main), word) in set.iter_mut().zip(main).zip(&PROCESSORS) {
            *all |= main | word.load(Ordering::Relaxed);
        }
        set
    }

    /// What the thread does first. System calls only, and none that waits.
    pub fn take_on(&self, name: &std::ffi::CStr) {
        // Not where it was started any more, but everywhere.
        if processors_of(0) != self.processors {
            set_own_processors(&self.processors);
        }
        // SAFETY: the name is a C string; the rest takes no pointers. What is
        // refused stays as it is.
        unsafe {
            libc::prctl(libc::PR_SET_NAME, name.as_ptr());
            libc::prctl(libc::PR_SET_TIMERSLACK, self.slack);
            if niceness_of(0) != self.niceness {
                libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, self.niceness);
            }
        }
    }
}

/// How much of its own a thread is created with: what cannot be had (a filter
/// of system calls, a C library without the call) is left out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    PolicyAndProcessors,
    Policy,
    Nothing,
}

impl Given {
    pub const ALL: [Given; 3] = [Given::PolicyAndProcessors, Given::Policy, Given::Nothing];

    /// Puts into `attributes` what the creator does for a new thread, before it
    /// runs: one that inherits a processor on which a real-time thread polls
    /// would never come to do it itself. Returns whether that was possible.
    pub fn put_into(self, terms: &Terms, attributes: &mut libc::pthread_attr_t) -> bool {
        if self == Given::Nothing {
            return true;
        }
        // SAFETY: initialised attributes, and a local variable that is plain
        // data; the values are valid ones.
        let policy = !terms.has_policy
            || unsafe {
                let mut parameters: libc::sched_param = std::mem::zeroed();
                parameters.sched_priority = 0;
                libc::pthread_attr_setinheritsched(attributes, libc::PTHREAD_EXPLICIT_SCHED) == 0
                    && libc::pthread_attr_setschedpolicy(attributes, libc::SCHED_OTHER) == 0
                    && libc::pthread_attr_setschedparam(attributes, &raw const parameters) == 0
            };
        policy && (self == Given::Policy || set_processors(terms, attributes))
    }
}

#[cfg(target_env = "gnu")]
fn set_processors(terms: &Terms, attributes: &mut libc::pthread_attr_t) -> bool {
    unsafe extern "C" {
        /// Declared here for its type: sets larger than `cpu_set_t` are fine.
        fn pthread_attr_setaffinity_np(
            attributes: *mut libc::pthread_attr_t,
            size: usize,
            set: *const c_void,
        ) -> c_int;
    }
    let Some(set) = terms.begin_on else {
        return true;
    };
    // SAFETY: initialised attributes; reads `size` bytes of a local variable.
    set.iter().any(|&word| word != 0)
        && unsafe {
            pthread_attr_setaffinity_np(attributes, size_of_val(&set), set.as_ptr().cast())
        } == 0
}

/// musl has no such call.
#[cfg(not(target_env = "gnu"))]
fn set_processors(_: &Terms, _: &mut libc::pthread_attr_t) -> bool {
    true
}
