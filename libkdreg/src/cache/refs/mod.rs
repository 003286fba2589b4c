// SPDX-License-Identifier: MIT OR Apache-2.0
// Files, in reading order:
//   counting   taking and putting without read-modify-writes
//   ownership  who may: how that begins and ends
//   hold       another reference for who has one
//! The references on a cache entry: who may use it, who must clean it up.
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
//! # Who counts
//! A live entry may have an owner: a thread that uses it again and again. The
//! owner counts its references in `own`, with plain loads and stores. Or it may
//! be shared: the threads that use it count on their own lines (`hazard`), with
//! plain loads and stores as well. All others count in the word, with atomic
//! additions. A reference may be put back by another thread than took it, so
//! no count alone says anything, and the one in the word may go below zero: the
//! references out are the sum.
//!
//! ```text
//! nobody            ──adopt──> owner
//! nobody            ──close──────────────────────┐
//! owner             ──close──> CLOSED  ──settle──┤
//! shared in a place ──close──> closing ──settle──┤
//!                                                v
//!              CLOSED, the word has all counts: ─┬─reopen──> owner, nobody
//!                                                ├─share──> shared in a place
//!                 detach, unfile, claim_idle ────┴─────────> nobody
//! ```
//! Whoever needs the sum first ends this (`close`, heavy fence, `settle`: see
//! `hazard` for why no step of a thread's that counts can be under way then),
//! which moves the other counts into the word. Only the holder of the cache's
//! lock does that, so there is one at a time. An entry without an owner, and
//! not shared, has `own == 0` and no place; one that is detached, unfiled,
//! retired or free is like that: everything about last puts is decided by the
//! word alone.
//!
//! # Invariant
//! The sum is the number of references out, plus those that lookups have
//! taken and are about to put back. An entry becomes `RETIRED` only by an
//! exchange that sees a settled count of zero, so nobody holds a reference
//! then, and nobody gains one later because the word is not `LIVE`.

mod counting;
mod hold;
mod ownership;

pub(crate) use counting::AtOwn;
pub(crate) use ownership::{BATCH, revoke_all};

use crate::hazard::Owners;
use crate::sync::{AtomicU32, AtomicU64, Ordering, PLACES};

const LIVE: u64 = 1;
const DETACHED: u64 = 1 << 1;
const RETIRED: u64 = 1 << 2;
const UNFILED: u64 = 1 << 3;
const STATE: u64 = 0x7f;
/// Lines are 128 bytes: what is here is the distance of the owner's.
const OWNER_SHIFT: u32 = 7;
const OWNER: u64 = 0xff << OWNER_SHIFT;
/// The count is above state and owner, so that an underflow cannot disturb
/// them. Signed.
const COUNT_SHIFT: u32 = 16;
const ONE: u64 = 1 << COUNT_SHIFT;

/// No owner.
pub(crate) const NOBODY: u8 = 0;
/// No owner, and no thread may become it.
const CLOSED: u8 = u8::MAX;
/// A live entry that has been closed.
const LIVE_CLOSED: u64 = LIVE | owner_bits(CLOSED);
/// Shared: with the place below it.
const SHARED: u8 = 0x80;
/// With `SHARED` and the place: no thread may count there any more, and what
/// was counted is still to be moved.
const CLOSING: u8 = 0x40;
const PLACE: u8 = 0x3f;
const _: () = assert!(PLACES <= PLACE as usize, "CLOSED is no place");

/// Where threads count on an entry, by what it says of its owner.
#[inline(always)]
fn place_shared(owner: u8) -> Option<usize> {
    (owner & (SHARED | CLOSING) == SHARED).then_some(usize::from(owner & PLACE))
}

/// As `place_shared`, also of one that is closing.
fn place_counted(owner: u8) -> Option<usize> {
    (owner & SHARED != 0 && owner != CLOSED).then_some(usize::from(owner & PLACE))
}

const fn owner_bits(owner: u8) -> u64 {
    (owner as u64) << OWNER_SHIFT
}

#[inline(always)]
fn owner_in(word: u64) -> u8 {
    (word >> OWNER_SHIFT) as u8
}

#[inline(always)]
fn count_in(word: u64) -> i64 {
    word as i64 >> COUNT_SHIFT
}

/// See the module's documentation. All zero is the free state.
#[repr(C)]
pub(crate) struct Refs {
    word: AtomicU64,
    /// What the owner counts.
    own: AtomicU32,
    /// Not looked at here: a place for the entry, which would otherwise be
    /// padding.
    pub(crate) beside: AtomicU32,
}

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

/// Whether a reference is out, as far as can be told at a glance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Held {
    Yes,
    No,
    /// The counts were read one after the other and cancel out: only
    /// [`Refs::revoke`] makes sure.
    Perhaps,
}

impl Refs {
    /// A free entry's references.
    #[allow(
        dead_code,
        reason = "used by the models; in the library these words come zeroed"
    )]
    pub fn new() -> Refs {
        Refs {
            word: AtomicU64::new(0),
            own: AtomicU32::new(0),
            beside: AtomicU32::new(0),
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// Makes a free entry live, with one reference for the caller.
    pub fn publish(&self) {
        // Release: pairs with the Acquire of `take`, which then sees the
        // entry's fields. Added, not stored: a late lookup may be about to put
        // back a reference on the entry's former self.
        self.word.fetch_add(LIVE + ONE, Ordering::Release);
    }

    /// Makes a free entry one that is never found, with one reference.
    pub fn publish_detached(&self) {
        self.word.fetch_add(DETACHED + ONE, Ordering::Release);
    }

    /// Takes a reference if the entry is live. Otherwise the reference was put
    /// back, and what `Err` holds is to be handled like the result of `put`.
    #[inline]
    pub fn take(&self) -> Result<(), Put> {
        // Acquire: pairs with the Release of `publish` (later increments and
        // decrements continue its release sequence).
        if self.word.fetch_add(ONE, Ordering::Acquire) & LIVE != 0 {
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
        let before = self.word.fetch_sub(ONE, Ordering::Release);
        if count_in(before) <= 0 && owner_in(before) == NOBODY {
            self.word.fetch_add(ONE, Ordering::Relaxed);
            return Put::NotHeld;
        }
        if count_in(before) == 1 && before & (DETACHED | UNFILED) != 0 {
            return if before & DETACHED != 0 {
                Put::Detached
            } else {
                Put::Unfiled
            };
        }
        Put::Done
    }

    /// How many references are out. A snapshot: exact when nobody takes or
    /// puts any meanwhile.
    pub fn count(&self, owners: &Owners) -> u64 {
        loop {
            // Acquire, all, and in this order: when a count is found moved, so
            // is the word that it was moved into.
            let owner = owner_in(self.word.load(Ordering::Acquire));
            let counted = place_counted(owner).map_or(0, |place| owners.counted(place));
            let own = u64::from(self.own.load(Ordering::Acquire));
            let word = self.word.load(Ordering::Relaxed);
            // Else what was counted may be another entry's by now.
            if owner_in(word) == owner {
                let sum = (counted + own) as i64 + count_in(word);
                return sum.max(0) as u64;
            }
        }
    }

    /// Whether any reference is out. A snapshot.
    #[inline]
    pub fn in_use(&self, owners: &Owners) -> bool {
        // The other counts are never below zero.
        count_in(self.word.load(Ordering::Relaxed)) > 0 || self.count(owners) != 0
    }

    /// Whether a reference is out, by who may hold it itself: `No` is certain
    /// then.
    pub fn held(&self, owners: &Owners) -> Held {
        if self.in_use(owners) {
            return Held::Yes;
        }
        // Acquire: as in `count`. Without an owner this word is the sum.
        let word = self.word.load(Ordering::Acquire);
        if owner_in(word) != NOBODY {
            Held::Perhaps
        } else if count_in(word) > 0 {
            Held::Yes
        } else {
            Held::No
        }
    }

    /// Whether lookups may find the entry. A snapshot, exact under the lock
    /// that orders publishing and detaching.
    pub fn is_live(&self) -> bool {
        self.word.load(Ordering::Relaxed) & LIVE != 0
    }

    /// Whether one thread owns it, which releases what it holds. A snapshot. SeqCst:
    /// where it is not any more, what was done to release it has been seen (`free`), and
    /// who had said before that it waits for that is seen by whoever frees one later.
    pub fn is_retired(&self) -> bool {
        self.word.load(Ordering::SeqCst) & RETIRED != 0
    }

    /// Whether it may come to be shared: it is live, filed, and is not. Exact
    /// under the lock.
    pub fn may_be_shared(&self) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        word & STATE == LIVE && place_shared(owner_in(word)).is_none()
    }

    /// Whether there are counts besides the word's: to end that takes a
    /// barrier. A snapshot.
    pub fn is_counted_apart(&self) -> bool {
        !matches!(owner_in(self.word.load(Ordering::Relaxed)), NOBODY | CLOSED)
    }

    /// Moves from one exact state with no references to RETIRED.
    #[inline]
    fn retire_from(&self, state: u64) -> bool {
        // Acquire: pairs with the Release of the puts before.
        self.word
            .compare_exchange(state, RETIRED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Retires a live entry that nobody uses. After `revoke`.
    pub fn claim_idle(&self) -> bool {
        self.retire_from(LIVE_CLOSED) || self.retire_from(LIVE | UNFILED)
    }

    /// Retires a detached entry that nobody uses any more. Of several threads
    /// that try, one succeeds.
    pub fn claim_detached(&self) -> bool {
        self.retire_from(DETACHED)
    }

    /// Ends the findability of a live entry. After `revoke`.
    pub fn detach(&self) -> Detach {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & LIVE == 0 {
                return Detach::NotLive;
            }
            debug_assert!(owner_in(word) == CLOSED || word & UNFILED != 0);
            let count = word & !(STATE | OWNER);
            let (next, outcome) = if count == 0 {
                (RETIRED, Detach::Claimed)
            } else {
                (count | DETACHED, Detach::InUse)
            };
            match self
                .word
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
        // last read. SeqCst: pairs with `is_retired`, asked by who waits for what is
        // released, and has said so: it sees this, or is seen (`is_waited_for`).
        // Subtracted, not stored: see `publish`.
        self.word.fetch_sub(RETIRED, Ordering::SeqCst);
    }

    /// Notes that a live entry in use is not filed; `false` if it is idle (or
    /// not live), and so the caller's to deal with. After `revoke`.
    pub fn unfile(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & LIVE != 0 && count_in(word) > 0 {
            let next = word & !OWNER | UNFILED;
            match self
                .word
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
        self.word
            .compare_exchange(LIVE | UNFILED, LIVE, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }
}
