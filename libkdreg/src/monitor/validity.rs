// SPDX-License-Identifier: MIT OR Apache-2.0
//! The validity check: the one question on the hit path.

use super::change_log::{Reader, Standing as LogStanding};
use super::guard::{Guard, Standing};
use super::in_flight::{InFlight, changes_in_flight};
use crate::pause;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How a backend's state words are to be read.
#[derive(Clone, Copy)]
pub(crate) enum Validity {
    /// The words are always current (kernel backend).
    Synchronous,
    /// As current as a log was applied to them (bpf).
    Logged(&'static Reader),
    /// As current as a guard says (userfaultfd).
    Guarded {
        /// The userfaultfd to be asked about changes in flight; -1: do not ask.
        userfaultfd: RawFd,
        guard: &'static Guard,
    },
}

/// That the words were current when this was made, which comes before their
/// being looked at.
#[derive(Clone, Copy)]
pub(crate) struct Settled(());

impl Settled {
    /// Whether `word` still is `generation`.
    #[inline(always)]
    pub fn check(self, word: &AtomicU32, generation: u32) -> bool {
        // Acquire: as in `Validity::check`.
        word.load(Ordering::Acquire) == generation
    }
}

// A hit waits for it.
const _: () = assert!(size_of::<Validity>() == 16);

/// How often a check asks again before it gives up and says "not valid". It
/// lets other threads run meanwhile, so that the handler can catch up, and at
/// last sleeps, five milliseconds in all: about as long as a registration that
/// this saves can take.
pub(super) const PATIENCE: u32 = 128;
const AWAKE: u32 = 78;
const NAP: Duration = Duration::from_micros(100);

/// How long a check sleeps after so many rounds; `None`: it lets others run.
pub(super) fn nap(round: u32) -> Option<Duration> {
    (round >= AWAKE).then_some(NAP)
}

/// Lets others run before the next round.
pub(super) fn pause(nap: Option<Duration>) {
    match nap {
        None => std::thread::yield_now(),
        Some(nap) => pause::sleep(nap),
    }
}

impl Validity {
    /// For words that the kernel keeps current.
    pub const SYNCHRONOUS: Validity = Validity::Synchronous;

    /// For words that a handler thread keeps current, as far as `guard` says.
    pub fn guarded(guard: &'static Guard) -> Validity {
        Validity::strict(guard, -1)
    }

    /// As `guarded`, and no change that has let go of the address space may
    /// still be on its way to the handler.
    pub fn strict(guard: &'static Guard, userfaultfd: RawFd) -> Validity {
        Validity::Guarded { userfaultfd, guard }
    }

    /// For words that whoever looks keeps current, by a log.
    pub fn logged(reader: &'static Reader) -> Validity {
        Validity::Logged(reader)
    }

    /// Whether a load and a compare are not the whole check.
    pub fn needs_call(&self) -> bool {
        !matches!(self, Validity::Synchronous)
    }

    /// Whether changes in flight are not asked about.
    pub fn is_relaxed(&self) -> bool {
        matches!(self, Validity::Guarded { userfaultfd, .. } if *userfaultfd < 0)
    }

    /// Whether the words alone tell what is valid, of all changes that are over
    /// by now. `None`: [`Validity::check`] does.
    #[inline(always)]
    pub fn settled(&self) -> Option<Settled> {
        let settled = match self {
            Validity::Synchronous => true,
            Validity::Logged(reader) => reader.is_current(),
            Validity::Guarded { userfaultfd, guard } => {
                *userfaultfd < 0 && guard.standing() == Standing::Settled
            }
        };
        settled.then_some(Settled(()))
    }

    /// Whether `word` still is `generation`, now.
    #[inline(always)]
    pub fn check(&self, word: &AtomicU32, generation: u32) -> bool {
        // A changed word never changes back, so this answer is final.
        // Acquire: pairs with the Release of the bump; what the changing
        // thread did before is visible to whoever is told "changed".
        if word.load(Ordering::Acquire) != generation {
            return false;
        }
        match *self {
            Validity::Synchronous => true,
            Validity::Logged(reader) if reader.is_current() => {
                // Behind what says that it is current.
                word.load(Ordering::Acquire) == generation
            }
            Validity::Logged(reader) => check_logged(reader, word, generation),
            Validity::Guarded { userfaultfd, guard } => {
                Guarded { userfaultfd, guard }.check(word, generation)
            }
        }
    }

    /// Waits, no longer than a check, until every change that has been read so
    /// far is in the words; `false` when that takes longer.
    pub fn settle(&self) -> bool {
        match *self {
            Validity::Synchronous => true,
            Validity::Logged(reader) => settle_logged(reader) == LogStanding::Settled,
            Validity::Guarded { guard, .. } => settle_guarded(guard, pause),
        }
    }
}

/// As `Validity::check`, where the log or its guard has moved.
#[cold]
fn check_logged(reader: &Reader, word: &AtomicU32, generation: u32) -> bool {
    // What came later than this was asked is not ours to see.
    settle_logged(reader) == LogStanding::Settled && word.load(Ordering::Acquire) == generation
}

/// How often it asks whether changes may still be passed over. They may be for as long
/// as another program, somewhere on the machine, does not get its processor back: a
/// moment, or not to be waited for. Each time costs a system call, and a hit is not to
/// cost many more than a registration that it saves is worth.
const UNCERTAIN: u32 = 8;

/// Takes in what was logged, for as long as a check is patient.
fn settle_logged(reader: &Reader) -> LogStanding {
    patiently(|| reader.catch_up(), pause)
}

/// As `settle_logged`: `pause` lets others run, for so long.
fn patiently(
    mut catch_up: impl FnMut() -> LogStanding,
    mut pause: impl FnMut(Option<Duration>),
) -> LogStanding {
    let mut uncertain = 0;
    let mut standing = LogStanding::Behind;
    for round in 0..PATIENCE {
        standing = catch_up();
        match standing {
            LogStanding::Settled | LogStanding::Dead => break,
            LogStanding::Uncertain if uncertain == UNCERTAIN => break,
            LogStanding::Uncertain => {
                uncertain += 1;
                pause(None);
            }
            LogStanding::Behind => pause(nap(round)),
        }
    }
    standing
}

/// Waits until a handler has taken in what it has read.
fn settle_guarded(guard: &Guard, mut pause: impl FnMut(Option<Duration>)) -> bool {
    for round in 0..PATIENCE {
        match guard.standing() {
            Standing::Settled => return true,
            Standing::Busy => pause(nap(round)),
            Standing::Dead => return false,
        }
    }
    false
}

/// What `Validity::Guarded` says.
#[derive(Clone, Copy)]
struct Guarded {
    userfaultfd: RawFd,
    guard: &'static Guard,
}

impl Guarded {
    /// The check behind a guard. The order is the argument: first no change is
    /// in flight (every change that let go of mmap_lock before now has been
    /// read, and the guard was made odd before it was read), then the guard is
    /// even (everything read is in the words), then the word.
    #[inline(never)]
    fn check(self, word: &AtomicU32, generation: u32) -> bool {
        if self.userfaultfd >= 0 {
            match changes_in_flight(self.userfaultfd) {
                InFlight::None => {}
                InFlight::Some => return self.check_patiently(word, generation, pause),
                InFlight::Gone => return false,
            }
        }
        match self.guard.standing() {
            Standing::Settled => word.load(Ordering::Acquire) == generation,
            Standing::Busy => self.check_patiently(word, generation, pause),
            Standing::Dead => false,
        }
    }

    #[cold]
    fn check_patiently(
        self,
        word: &AtomicU32,
        generation: u32,
        mut pause: impl FnMut(Option<Duration>),
    ) -> bool {
        let mut quiet = self.userfaultfd < 0;
        for round in 0..PATIENCE {
            if word.load(Ordering::Acquire) != generation {
                return false;
            }
            if !quiet {
                match changes_in_flight(self.userfaultfd) {
                    // Once quiet is enough: later changes are not ours to see.
                    InFlight::None => quiet = true,
                    InFlight::Some => {}
                    InFlight::Gone => return false,
                }
            }
            if quiet {
                match self.guard.standing() {
                    Standing::Settled => return word.load(Ordering::Acquire) == generation,
                    Standing::Busy => {}
                    Standing::Dead => return false,
                }
            }
            pause(nap(round));
        }
        false
    }
}

#[cfg(test)]
mod tests;
