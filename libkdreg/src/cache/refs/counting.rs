// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counting without read-modify-writes: by an entry's owner, or by a thread
//! that shares it.

use super::{LIVE, OWNER, Refs, STATE, count_in, owner_bits, owner_in, place_shared};
use crate::owners::{Caller, Owner, Owners};
use crate::sync::{AtomicU32, Ordering};

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
        self.take_at(line, number, &self.own, serves)
            .then_some(number)
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
        // The sum, too, must be positive: all our references may have been put
        // back by others.
        self.put_at(line, number, &self.own, |own, others| own + others > 0)
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
        self.take_at(line, owner, &line.counts[place], serves)
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
        // No thread's count goes below zero. The word's may, when other threads
        // than took them put references back there: then this one does too,
        // after it has seen that the sum is positive.
        self.put_at(line, owner, &line.counts[place], |_, others| others >= 0)
    }

    /// Takes a reference as the thread of this line, in a count that is its own
    /// while the entry says this of its owner.
    #[inline(always)]
    fn take_at(
        &self,
        line: &Owner,
        owner: u8,
        count: &AtomicU32,
        serves: impl FnOnce() -> bool,
    ) -> bool {
        line.enter(self.address());
        // Acquire: continues the release sequences of `publish`, and of
        // `reopen`, after which the count was 0.
        let word = self.word.load(Ordering::Acquire);
        // Between this and `leave` the entry stays as it is: its fields hold
        // still, and nobody else touches the count.
        let counted = count.load(Ordering::Relaxed);
        let taken =
            word & (STATE | OWNER) == LIVE | owner_bits(owner) && counted != u32::MAX && serves();
        if taken {
            count.store(counted + 1, Ordering::Relaxed);
        }
        line.leave();
        taken
    }

    /// Puts a reference back as `take_at` takes one, if this count has any and
    /// `held` says so of it and of the word's.
    #[inline(always)]
    fn put_at(
        &self,
        line: &Owner,
        owner: u8,
        count: &AtomicU32,
        held: impl FnOnce(i64, i64) -> bool,
    ) -> bool {
        line.enter(self.address());
        // Acquire: as in `take_at`; the count is 0 if it is new.
        let word = self.word.load(Ordering::Acquire);
        let counted = count.load(Ordering::Relaxed);
        let put = word & (STATE | OWNER) == LIVE | owner_bits(owner)
            && counted != 0
            && held(i64::from(counted), count_in(word));
        if put {
            // Release: pairs with the Acquire in `settle`; what was done with
            // the entry happens before its release.
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
