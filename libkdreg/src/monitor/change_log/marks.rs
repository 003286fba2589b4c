// SPDX-License-Identifier: MIT OR Apache-2.0
//! How far a log was applied to the state words, and when that is everything.
//!
//! # The argument
//! A change adds to the tail before its call returns. Whoever looks up after
//! that loads how far the log was applied, the tail, and then the region's
//! word. If the first two are equal, every change that was begun by then is in
//! the words, and the loads are ordered: the word is as bumped as it will be
//! for them.
//!
//! A change may not be logged at all where its program was passed over. The
//! guard counts the processors on which that may be happening, from before it can
//! until after it was found out, and then how often it did: so it differs from
//! what was remembered from before the change's call returns until everything
//! was invalidated.
//!
//! # Overtaken
//! Entries are taken in order, and one that is not finished is waited for. When
//! writers are a whole log ahead, what is between is unknown: everything is
//! invalidated, and reading goes on at the tail. Not before every entry begun is
//! finished, though: a writer that was held up would otherwise, later, write its
//! payload over that of an entry of another lap, which looks finished, and be
//! taken for it. Without an overtaking the reader cannot get past an entry that
//! such a writer has; so it never takes one that anybody may still write to and
//! that has not been lapped, which the tail tells.

use super::abi::{GUARD_DEAD, GUARD_UNCERTAIN, LOG_DEAD};
use super::changes::{Change, Log, Taken};
use super::orders;
use crate::sync::{AtomicU64, Ordering};

/// How far the log was applied, and the losses that were made good.
pub(crate) struct Marks {
    /// Entries that are in the state words. Written under the reader's lock.
    applied: AtomicU64,
    /// The guard's word up to which everything was invalidated; never with any
    /// processor uncertain. Written under the reader's lock.
    made_good: AtomicU64,
}

/// What is to be marked as changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Change(Change),
    /// Everything, since changes were not seen.
    Everything,
}

/// How far marking came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Marked {
    /// No region of it is armed.
    All,
    /// There may be more.
    Some,
    /// It cannot be done now.
    Not,
}

/// What a reader may conclude.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// Every change begun before it was asked is in the words.
    Settled,
    /// There is more in the log.
    Behind,
    /// What is in the log was applied, and changes may be passed over now.
    Uncertain,
    /// Nothing is certain any more.
    Dead,
}

impl Marks {
    /// For a log that nothing was read of, and a guard that said `guard`. No
    /// region is armed yet.
    pub fn new(guard: u64) -> Marks {
        Marks {
            applied: AtomicU64::new(0),
            made_good: AtomicU64::new(guard & !(GUARD_UNCERTAIN | GUARD_DEAD)),
        }
    }

    /// As `new`, of marks that nobody looks at meanwhile.
    pub fn renew(&self, guard: u64) {
        let Marks { applied, made_good } = Marks::new(guard);
        self.applied.store(applied.into_inner(), Ordering::Relaxed);
        (self.made_good).store(made_good.into_inner(), Ordering::Relaxed);
    }

    /// Whether every change whose call has returned is in the state words. To be
    /// asked *before* the word is loaded.
    ///
    /// Dead words of either kind differ from what is remembered.
    #[inline(always)]
    pub fn are_current(&self, tail: &AtomicU64, guard: &AtomicU64) -> bool {
        // Relaxed: see `orders::SEE`.
        self.applied.load(orders::TAKE) == tail.load(Ordering::Relaxed)
            && self.made_good.load(orders::TAKE) == guard.load(Ordering::Relaxed)
    }

    /// Applies what is new, in `steps` steps at most: `mark` is called for each.
    /// One caller at a time.
    pub fn catch_up(
        &self,
        log: &Log<'_>,
        guard: &AtomicU64,
        steps: usize,
        mut mark: impl FnMut(What) -> Marked,
    ) -> Standing {
        // Relaxed: written under the caller's lock only.
        let mut applied = self.applied.load(Ordering::Relaxed);
        for _ in 0..steps {
            let tail = log.tail.load(orders::SEE);
            if tail & LOG_DEAD != 0 {
                return Standing::Dead;
            }
            if tail == applied {
                return self.look_at_guard(guard, mark);
            }
            let overtaken = tail - applied > log.capacity();
            let (what, next) = match log.take(applied) {
                Taken::Change(change) if !overtaken => (What::Change(change), applied + 1),
                Taken::Unfinished if !overtaken => return Standing::Behind,
                _ => {
                    let done = log.done.load(orders::FINISHED);
                    // Behind it: when they are equal nobody was writing in between.
                    let tail = log.tail.load(orders::SEE);
                    if tail & LOG_DEAD != 0 {
                        return Standing::Dead;
                    }
                    if tail != done {
                        return Standing::Behind;
                    }
                    (What::Everything, tail)
                }
            };
            match mark(what) {
                Marked::All => {
                    applied = next;
                    self.applied.store(applied, orders::PUBLISH);
                }
                // The same again: what was marked stays so.
                Marked::Some => {}
                Marked::Not => return Standing::Behind,
            }
        }
        Standing::Behind
    }

    /// As `catch_up`, once what is in the log was applied.
    fn look_at_guard(&self, guard: &AtomicU64, mut mark: impl FnMut(What) -> Marked) -> Standing {
        // Before everything is marked: what is lost later is another word.
        let word = guard.load(orders::SEE);
        if word & GUARD_DEAD != 0 {
            return Standing::Dead;
        }
        // What was lost is made good though more may be: who waits for events is told
        // of a loss once, and not when the last processor is certain again. Nothing that
        // is lost later has this number.
        let losses = word & !GUARD_UNCERTAIN;
        // Relaxed: written under the caller's lock only.
        if losses != self.made_good.load(Ordering::Relaxed) {
            if mark(What::Everything) != Marked::All {
                return Standing::Behind;
            }
            self.made_good.store(losses, orders::PUBLISH);
        }
        if word & GUARD_UNCERTAIN != 0 {
            return Standing::Uncertain;
        }
        Standing::Settled
    }
}
