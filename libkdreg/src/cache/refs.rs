// SPDX-License-Identifier: MIT OR Apache-2.0
//! The reference word of a cache entry: who may use it, who must clean it up.
//!
//! Entries live in type-stable memory, so a lock-free lookup may take a
//! reference on an entry that is being thrown away, or is another one by now:
//! it finds out from the very word it incremented, and puts back what it took.
//!
//! # States (the low bits), changed only as listed
//! ```text
//! free ──publish──> LIVE ──detach──> DETACHED ──last put──> RETIRED ──free──> free
//!                     └──claim_idle, detach when unused──────^
//! ```
//! * `LIVE`: lookups may take references.
//! * `DETACHED`: not to be found any more; references are still out.
//! * `RETIRED`: one thread, the one whose exchange set it, owns the entry
//!   alone and releases what it holds.
//!
//! `UNFILED`, with `LIVE`, says that the entry was in use when the LRU order
//! came to it and is not filed there: the put that makes it idle files it.
//!
//! # Invariant
//! The count is the number of references out, plus those that lookups have
//! taken and are about to put back. An entry becomes `RETIRED` only by an
//! exchange that sees a count of zero, so nobody holds a reference then, and
//! nobody gains one later because the word is not `LIVE`.

use crate::sync::{AtomicU64, Ordering};

const LIVE: u64 = 1;
const DETACHED: u64 = 1 << 1;
const RETIRED: u64 = 1 << 2;
const UNFILED: u64 = 1 << 3;
const STATE: u64 = 0xff;
/// The count is above the state, so that an underflow cannot disturb it.
const ONE: u64 = 1 << 8;

/// See the module's documentation. Zero is the free state.
#[repr(transparent)]
pub(crate) struct Refs(AtomicU64);

/// What became of a reference that was put back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Put {
    /// Nothing more to do.
    Done,
    /// It was the last one of a detached entry: try [`Refs::claim_detached`].
    Detached,
    /// It was the last one of an unfiled entry: try [`Refs::file`].
    Unfiled,
    /// No reference was out: the caller never had one.
    NotHeld,
}

/// What [`Refs::detach`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Detach {
    /// Nobody uses the entry: it is the caller's to release.
    Claimed,
    /// It is in use; the last put will release it.
    InUse,
    /// It was not live.
    NotLive,
}

impl Refs {
    /// A free entry's word.
    #[allow(
        dead_code,
        reason = "used by the models; in the library these words come zeroed"
    )]
    pub fn new() -> Refs {
        Refs(AtomicU64::new(0))
    }

    /// Makes a free entry live, with one reference for the caller.
    pub fn publish(&self) {
        // Release: pairs with the Acquire of `take`, which then sees the
        // entry's fields. Added, not stored: a late lookup may be about to put
        // back a reference on the entry's former self.
        self.0.fetch_add(LIVE + ONE, Ordering::Release);
    }

    /// Makes a free entry one that is never found, with one reference.
    pub fn publish_detached(&self) {
        self.0.fetch_add(DETACHED + ONE, Ordering::Release);
    }

    /// Takes a reference if the entry is live. Otherwise the reference was put
    /// back, and what `Err` holds is to be handled like the result of `put`.
    #[inline]
    pub fn take(&self) -> Result<(), Put> {
        // Acquire: pairs with the Release of `publish` (later increments and
        // decrements continue its release sequence).
        if self.0.fetch_add(ONE, Ordering::Acquire) & LIVE != 0 {
            Ok(())
        } else {
            Err(self.put())
        }
    }

    /// Puts a reference back.
    #[inline]
    pub fn put(&self) -> Put {
        // Release: pairs with the Acquire of the exchanges that retire the
        // entry; what was done with it happens before its release.
        let before = self.0.fetch_sub(ONE, Ordering::Release);
        if before & !STATE == 0 {
            self.0.fetch_add(ONE, Ordering::Relaxed);
            return Put::NotHeld;
        }
        if before & !STATE == ONE && before & (DETACHED | UNFILED) != 0 {
            return if before & DETACHED != 0 {
                Put::Detached
            } else {
                Put::Unfiled
            };
        }
        Put::Done
    }

    /// How many references are out. A snapshot.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed) / ONE
    }

    /// Whether any reference is out. A snapshot.
    pub fn in_use(&self) -> bool {
        self.count() != 0
    }

    /// Whether lookups may find the entry. A snapshot, exact under the lock
    /// that orders publishing and detaching.
    pub fn is_live(&self) -> bool {
        self.0.load(Ordering::Relaxed) & LIVE != 0
    }

    /// Moves from one exact state with no references to RETIRED.
    fn retire_from(&self, state: u64) -> bool {
        // Acquire: pairs with the Release of the puts before.
        self.0
            .compare_exchange(state, RETIRED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Retires a live entry that nobody uses.
    pub fn claim_idle(&self) -> bool {
        self.retire_from(LIVE) || self.retire_from(LIVE | UNFILED)
    }

    /// Retires a detached entry that nobody uses any more. Of several threads
    /// that try, one succeeds.
    pub fn claim_detached(&self) -> bool {
        self.retire_from(DETACHED)
    }

    /// Ends the findability of a live entry.
    pub fn detach(&self) -> Detach {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if word & LIVE == 0 {
                return Detach::NotLive;
            }
            let (next, outcome) = if word & !STATE == 0 {
                (RETIRED, Detach::Claimed)
            } else {
                (word & !STATE | DETACHED, Detach::InUse)
            };
            match self
                .0
                .compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return outcome,
                Err(now) => word = now,
            }
        }
    }

    /// Frees a retired entry for its next life.
    pub fn free(&self) {
        // Release: the next life's fields are written after this one's were
        // last read. Subtracted, not stored: see `publish`.
        self.0.fetch_sub(RETIRED, Ordering::Release);
    }

    /// Notes that a live entry in use is not filed; `false` if it is idle (or
    /// not live), and so the caller's to deal with.
    pub fn unfile(&self) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        while word & LIVE != 0 && word & !STATE != 0 {
            let next = word | UNFILED;
            match self
                .0
                .compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Clears the note of an idle entry; `true` if the caller must file it.
    /// Of several threads that try, one succeeds.
    pub fn file(&self) -> bool {
        self.0
            .compare_exchange(LIVE | UNFILED, LIVE, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }
}
