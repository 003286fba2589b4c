// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counting without read-modify-writes: by an entry's owner, or by a thread
//! that shares it.

use super::{LIVE, OWNER, Refs, STATE, count_in, owner_bits, owner_in, place_shared};
use crate::hazard::{Caller, Owner, Owners};
use crate::sync::{AtomicU32, Ordering};

/// The calling thread at a live entry that it owns. While this lives the entry
/// stays as it is: its fields hold still, and nobody else touches the owner's
/// count.
pub(crate) struct AtOwn<'a> {
    refs: &'a Refs,
    line: &'a Owner,
    /// How far the line is from the first one.
    offset: usize,
}

impl Drop for AtOwn<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.line.leave();
    }
}

impl AtOwn<'_> {
    /// The owner's number.
    #[inline(always)]
    pub fn number(&self) -> u8 {
        (self.offset / size_of::<Owner>()) as u8
    }

    /// How far what there is for the owner is from what there is for nobody, where each
    /// has as much as a line is long.
    #[inline(always)]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// How many references the owner will have counted with one more; `None`:
    /// as many as can be counted.
    #[inline(always)]
    pub fn one_more(&self) -> Option<u32> {
        self.refs.own.load(Ordering::Relaxed).checked_add(1)
    }

    /// Takes one more.
    #[inline(always)]
    pub fn take(&self, counted: u32) {
        self.refs.own.store(counted, Ordering::Relaxed);
    }

    /// Puts a reference back, if the owner counted any. The word's count is not
    /// below zero.
    #[inline(always)]
    fn put(&self) -> bool {
        let Some(left) = self.refs.own.load(Ordering::Relaxed).checked_sub(1) else {
            return false;
        };
        // Release: pairs with the Acquire in `settle`; what was done with the
        // entry happens before its release. For the language: on no machine is
        // it seen to be missing (`ownership`, "Orders that no machine needs").
        self.refs.own.store(left, Ordering::Release);
        true
    }
}

impl Refs {
    /// Goes to the entry as its owner; `None` when the caller is not, or somebody
    /// counts in the word this moment. Where it is one, the entry is live.
    #[inline(always)]
    pub fn enter_own<'a>(&'a self, caller: Caller<'a>) -> Option<AtOwn<'a>> {
        // Relaxed: a first look, to know which line is to be asked.
        self.enter_as(caller, self.word.load(Ordering::Relaxed))
    }

    #[inline(always)]
    fn enter_as<'a>(&'a self, caller: Caller<'a>, word: u64) -> Option<AtOwn<'a>> {
        let offset = Owners::offset_of(owner_in(word));
        // SAFETY: from there.
        let line = unsafe { caller.owners.at_offset(offset) };
        if !caller.me.is(line.identity()) {
            return None;
        }
        line.enter(self.address());
        let at = AtOwn {
            refs: self,
            line,
            offset,
        };
        // Acquire: continues the release sequences of `publish`, and of
        // `reopen`, after which the count was 0. If the word is what it was,
        // the caller owns the entry; only a live one has an owner.
        // (A thread became the owner by an Acquire of its own, so only one that
        // goes on in the name of another that is gone needs this one.)
        (self.word.load(Ordering::Acquire) == word).then_some(at)
    }

    /// As the owner, takes a reference on a live entry that `suits`; returns the
    /// owner's number.
    #[inline(always)]
    pub fn take_own(&self, caller: Caller<'_>, suits: impl FnOnce() -> bool) -> Option<u8> {
        let at = self.enter_own(caller)?;
        let counted = at.one_more().filter(|_| suits())?;
        at.take(counted);
        Some(at.number())
    }

    /// As the owner of a live entry, puts a reference back. `false`: not so,
    /// and nothing happened.
    #[inline(always)]
    pub fn put_own(&self, caller: Caller<'_>) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        // Below zero others have put some of the owner's references back, and
        // perhaps all.
        count_in(word) >= 0 && self.enter_as(caller, word).is_some_and(|at| at.put())
    }

    /// Whether the caller is the owner. A snapshot.
    #[inline]
    pub fn is_owned_by(&self, caller: Caller<'_>) -> bool {
        caller.is(owner_in(self.word.load(Ordering::Relaxed)))
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
            // Release: as in `AtOwn::put`.
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
