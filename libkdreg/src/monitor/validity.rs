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
pub(super) const AWAKE: u32 = 78;
pub(super) const NAP: Duration = Duration::from_micros(100);

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
            Validity::Guarded { guard, .. } => settle_guarded(guard),
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
    patiently(
        || reader.catch_up(),
        |nap| match nap {
            None => std::thread::yield_now(),
            Some(nap) => pause::sleep(nap),
        },
    )
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
            LogStanding::Behind => pause((round >= AWAKE).then_some(NAP)),
        }
    }
    standing
}

/// Waits until a handler has taken in what it has read.
fn settle_guarded(guard: &Guard) -> bool {
    for round in 0..PATIENCE {
        match guard.standing() {
            Standing::Settled => return true,
            Standing::Busy if round < AWAKE => std::thread::yield_now(),
            Standing::Busy => pause::sleep(NAP),
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
                InFlight::Some => return self.check_patiently(word, generation),
                InFlight::Gone => return false,
            }
        }
        match self.guard.standing() {
            Standing::Settled => word.load(Ordering::Acquire) == generation,
            Standing::Busy => self.check_patiently(word, generation),
            Standing::Dead => false,
        }
    }

    #[cold]
    fn check_patiently(self, word: &AtomicU32, generation: u32) -> bool {
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
            if round < AWAKE {
                std::thread::yield_now();
            } else {
                pause::sleep(NAP);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a log that stands so, and how often others were let run for it.
    fn ask(standing: impl Fn(u32) -> LogStanding) -> (LogStanding, u32) {
        let (mut asked, mut pauses) = (0, 0);
        let found = patiently(
            || {
                asked += 1;
                standing(asked)
            },
            |_| pauses += 1,
        );
        (found, pauses)
    }

    #[test]
    fn uncertainty_is_not_waited_for() {
        assert_eq!(
            ask(|_| LogStanding::Uncertain),
            (LogStanding::Uncertain, UNCERTAIN)
        );
        // Not even in turns with something that is worth it.
        let (found, pauses) = ask(|n| match n % 2 {
            0 => LogStanding::Behind,
            _ => LogStanding::Uncertain,
        });
        assert_eq!(found, LogStanding::Uncertain);
        assert!(pauses <= 2 * UNCERTAIN);
    }

    #[test]
    fn what_passes_is_waited_for() {
        let soon = |n| match n {
            1..=3 => LogStanding::Uncertain,
            _ => LogStanding::Settled,
        };
        assert_eq!(ask(soon), (LogStanding::Settled, 3));
        assert_eq!(
            ask(|_| LogStanding::Behind),
            (LogStanding::Behind, PATIENCE)
        );
        assert_eq!(ask(|_| LogStanding::Dead), (LogStanding::Dead, 0));
    }
}
