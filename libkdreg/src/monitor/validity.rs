// SPDX-License-Identifier: MIT OR Apache-2.0
//! The validity check: the one question on the hit path.

use super::guard::{Guard, Standing};
use super::userfaultfd::in_flight::{InFlight, changes_in_flight};
use crate::sync;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How a backend's state words are to be read.
#[derive(Clone, Copy)]
pub(crate) struct Validity {
    /// `None`: the words are always current (kernel backend).
    guard: Option<&'static Guard>,
    /// The userfaultfd to be asked about changes in flight; -1: do not ask.
    userfaultfd: RawFd,
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

/// How often a check asks again before it gives up and says "not valid". It
/// lets other threads run meanwhile, so that the handler can catch up, and at
/// last sleeps, five milliseconds in all: about as long as a registration that
/// this saves can take.
pub(super) const PATIENCE: u32 = 128;
pub(super) const AWAKE: u32 = 78;
pub(super) const NAP: Duration = Duration::from_micros(100);

impl Validity {
    /// For words that the kernel keeps current.
    pub const SYNCHRONOUS: Validity = Validity {
        guard: None,
        userfaultfd: -1,
    };

    /// For words that a handler thread keeps current, as far as `guard` says.
    pub fn guarded(guard: &'static Guard) -> Validity {
        Validity {
            guard: Some(guard),
            userfaultfd: -1,
        }
    }

    /// As `guarded`, and no change that has let go of the address space may
    /// still be on its way to the handler.
    pub fn strict(guard: &'static Guard, userfaultfd: RawFd) -> Validity {
        Validity {
            guard: Some(guard),
            userfaultfd,
        }
    }

    /// Whether a load and a compare are not the whole check.
    pub fn needs_call(&self) -> bool {
        self.guard.is_some()
    }

    /// Whether changes in flight are not asked about.
    pub fn is_relaxed(&self) -> bool {
        self.guard.is_some() && self.userfaultfd < 0
    }

    /// Whether the words alone tell what is valid, of all changes that are over
    /// by now. `None`: [`Validity::check`] does.
    #[inline(always)]
    pub fn settled(&self) -> Option<Settled> {
        match self.guard {
            Some(guard) if self.userfaultfd >= 0 || guard.standing() != Standing::Settled => None,
            _ => Some(Settled(())),
        }
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
        match self.guard {
            None => true,
            Some(guard) => self.check_guarded(guard, word, generation),
        }
    }

    /// The check behind a guard. The order is the argument: first no change is
    /// in flight (every change that let go of mmap_lock before now has been
    /// read, and the guard was made odd before it was read), then the guard is
    /// even (everything read is in the words), then the word.
    #[inline(never)]
    fn check_guarded(&self, guard: &Guard, word: &AtomicU32, generation: u32) -> bool {
        if self.userfaultfd >= 0 {
            match changes_in_flight(self.userfaultfd) {
                InFlight::None => {}
                InFlight::Some => return self.check_patiently(guard, word, generation),
                InFlight::Gone => return false,
            }
        }
        match guard.standing() {
            Standing::Settled => word.load(Ordering::Acquire) == generation,
            Standing::Busy => self.check_patiently(guard, word, generation),
            Standing::Dead => false,
        }
    }

    /// Waits, no longer than a check, until every change that has been read so
    /// far is in the words; `false` when that takes longer.
    pub fn settle(&self) -> bool {
        let Some(guard) = self.guard else {
            return true;
        };
        for round in 0..PATIENCE {
            match guard.standing() {
                Standing::Settled => return true,
                Standing::Busy if round < AWAKE => std::thread::yield_now(),
                Standing::Busy => sync::sleep(NAP),
                Standing::Dead => return false,
            }
        }
        false
    }

    #[cold]
    fn check_patiently(&self, guard: &Guard, word: &AtomicU32, generation: u32) -> bool {
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
                match guard.standing() {
                    Standing::Settled => return word.load(Ordering::Acquire) == generation,
                    Standing::Busy => {}
                    Standing::Dead => return false,
                }
            }
            if round < AWAKE {
                std::thread::yield_now();
            } else {
                sync::sleep(NAP);
            }
        }
        false
    }
}
