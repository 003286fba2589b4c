// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counting without read-modify-writes: by an entry's owner, or by a thread
//! that shares it.

use super::{LIVE, OWNER, Refs, STATE, count_in, owner_bits, owner_in, place_shared};
use crate::owners::{Caller, Owners};
use crate::sync::Ordering;

impl Refs {
    /// As the owner, takes a reference on a live entry that `serves`; returns
    /// the owner's number. `None` also when the caller is not the owner.
    #[inline(always)]
    pub fn take_own(&self, caller: Caller<'_>, serves: impl FnOnce() -> bool) -> Option<u8> {
        // Relaxed: a first look, to know which line is to be asked.
        let number = owner_in(self.word.load(Ordering::Relaxed));
        if !caller.is(number) {
            return None;
        }
        let line = caller.owners.of(number);
        line.enter(self.address());
        // Acquire: continues the release sequence of `publish`.
        let word = self.word.load(Ordering::Acquire);
        // Between this and `leave` the entry stays ours: its fields hold
        // still, and nobody else touches `own`.
        let own = self.own.load(Ordering::Relaxed);
        let taken =
            word & (STATE | OWNER) == LIVE | owner_bits(number) && own != u32::MAX && serves();
        if taken {
            self.own.store(own + 1, Ordering::Relaxed);
        }
        line.leave();
        taken.then_some(number)
    }

    /// As the owner of a live entry, puts a reference back. `false`: not so,
    /// and nothing happened.
    #[inline(always)]
    pub fn put_own(&self, caller: Caller<'_>) -> bool {
        let number = owner_in(self.word.load(Ordering::Relaxed));
        if !caller.is(number) {
            return false;
        }
        let line = caller.owners.of(number);
        line.enter(self.address());
        let word = self.word.load(Ordering::Relaxed);
        let own = self.own.load(Ordering::Relaxed);
        // The sum, too, must be positive: all our references may have been put
        // back by others.
        let put = word & (STATE | OWNER) == LIVE | owner_bits(number)
            && own != 0
            && i64::from(own) + count_in(word) > 0;
        if put {
            // Release: pairs with the Acquire in `settle`; what was done with
            // the entry happens before its release.
            self.own.store(own - 1, Ordering::Release);
        }
        line.leave();
        put
    }

    /// Whether several threads count for themselves. A snapshot.
    #[inline(always)]
    pub fn is_shared(&self) -> bool {
        place_shared(owner_in(self.word.load(Ordering::Relaxed))).is_some()
    }

    /// As a thread with a number of its own, takes a reference on a live and
    /// shared entry that `serves`.
    #[inline]
    pub fn take_shared(&self, owners: &Owners, number: u8, serves: impl FnOnce() -> bool) -> bool {
        // Relaxed: a first look, to know the place.
        let owner = owner_in(self.word.load(Ordering::Relaxed));
        let Some(place) = place_shared(owner) else {
            return false;
        };
        let line = owners.of(number);
        line.enter(self.address());
        // Acquire: continues the release sequences of `publish`, and of
        // `reopen`, after which the counts in this place were 0.
        let word = self.word.load(Ordering::Acquire);
        // Between this and `leave` the entry stays shared in this place.
        let count = &line.counts[place];
        let counted = count.load(Ordering::Relaxed);
        let taken =
            word & (STATE | OWNER) == LIVE | owner_bits(owner) && counted != u32::MAX && serves();
        if taken {
            count.store(counted + 1, Ordering::Relaxed);
        }
        line.leave();
        taken
    }

    /// As a thread with a number of its own, puts a reference on a live and
    /// shared entry back that it counted itself. `false`: not so, and nothing
    /// happened.
    #[inline]
    pub fn put_shared(&self, owners: &Owners, number: u8) -> bool {
        let owner = owner_in(self.word.load(Ordering::Relaxed));
        let Some(place) = place_shared(owner) else {
            return false;
        };
        let line = owners.of(number);
        line.enter(self.address());
        // Acquire: as in `take_shared`; the count is 0 if the place is new.
        let word = self.word.load(Ordering::Acquire);
        let count = &line.counts[place];
        let counted = count.load(Ordering::Relaxed);
        // No thread's count goes below zero. The word's may, when other threads
        // than took them put references back there: then this one does too,
        // after it has seen that the sum is positive.
        let put = word & (STATE | OWNER) == LIVE | owner_bits(owner)
            && counted != 0
            && count_in(word) >= 0;
        if put {
            // Release: pairs with the Acquire in `settle`, as in `put_own`.
            count.store(counted - 1, Ordering::Release);
        }
        line.leave();
        put
    }

    /// Whether the thread of this number counts references on a shared entry. A
    /// snapshot.
    pub fn counts_here(&self, owners: &Owners, number: u8) -> bool {
        place_shared(owner_in(self.word.load(Ordering::Relaxed)))
            .is_some_and(|place| owners.of(number).counts[place].load(Ordering::Relaxed) != 0)
    }
}
