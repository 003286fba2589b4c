// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who counts an entry's references: how that begins, and how it ends.
//!
//! # Orders that no machine needs
//! Taken away, these turn no model of ARMv8 red (tests/weak_memory). They stay, as
//! the language asks for them, and cost next to nothing:
//! * the release of a count that a put leaves (`counting`), and the acquire that
//!   `settle` reads it with. The next store of that thread is `leave`, a release,
//!   and `settle` has waited for it, or has seen the store that came after it in the same
//!   place. To the language that later store, of `enter`, passes nothing on; to
//!   the architecture it does: stores to one place are seen in their order by all,
//!   and a release is seen after everything before it. Where the caller is the owner
//!   it is program order. (loom does not see it either: tests/models.rs says why);
//! * the release of the sum that `settle` adds to the word, for a third thread that
//!   retires the entry. What `settle` acquired from a thread is in memory, of which there
//!   is one (ARMv8 is multi-copy atomic, x86 always was): it is there for whoever
//!   sees the sum, which is added after it was read. (loom, which goes by the language,
//!   turns red.)

use super::{
    CLOSED, CLOSING, LIVE, LIVE_CLOSED, NOBODY, ONE, OWNER, Refs, SHARED, STATE, owner_bits,
    owner_in, place_shared,
};
use crate::hazard::{Caller, Owners};
use crate::sync::{Ordering, heavy};

impl Refs {
    /// Makes the caller, by its number, the owner of a live entry that has
    /// none.
    pub fn adopt(&self, number: u8) {
        let word = self.word.load(Ordering::Relaxed);
        if word & (STATE | OWNER) == LIVE {
            // Acquire: pairs with the Release that ended the last ownership,
            // after which `own` was 0. That it fails does no harm.
            let _ = self.word.compare_exchange(
                word,
                word | owner_bits(number),
                Ordering::Acquire,
                Ordering::Relaxed,
            );
        }
    }

    /// Keeps the owner, or those that share the entry, from counting any
    /// further; returns what the word said of them if the entry is live and
    /// there was one. Under the lock, as all that follow; to be followed by
    /// `settle` once they are known to have noticed.
    pub fn close(&self) -> Option<u8> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let owner = owner_in(word);
            // Closed, or closing: a batch may name an entry twice.
            let again = owner & (SHARED | CLOSING) == SHARED | CLOSING;
            if word & STATE != LIVE || again {
                return None;
            }
            // It must be possible to tell where the counts are until they are
            // moved.
            let closed = place_shared(owner).map_or(CLOSED, |_| owner | CLOSING);
            // Relaxed: the heavy fence orders it.
            match self.word.compare_exchange_weak(
                word,
                word & !OWNER | owner_bits(closed),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return (owner != NOBODY).then_some(owner),
                Err(now) => word = now,
            }
        }
    }

    /// Moves the counts of a former owner, or of those that shared the entry,
    /// into the word. After `close`, and a heavy fence unless the caller is
    /// that owner.
    pub fn settle(&self, owners: &Owners, owner: u8) {
        if let Some(place) = place_shared(owner) {
            return self.settle_shared(owners, place);
        }
        owners.of(owner).wait_out(self.address());
        // Acquire: pairs with the Release in `put_at`.
        let own = self.own.load(Ordering::Acquire);
        // In this order: who reads `own` first never finds less than there is.
        // Release: passes on what was just acquired to whoever retires the
        // entry in the end.
        self.word.fetch_add(u64::from(own) * ONE, Ordering::Release);
        // Release: see `count`.
        self.own.store(0, Ordering::Release);
    }

    fn settle_shared(&self, owners: &Owners, place: usize) {
        let mut counted = 0;
        for line in owners.in_use() {
            line.wait_out(self.address());
            // Acquire: pairs with the Release in `put_at`.
            counted += u64::from(line.counts[place].load(Ordering::Acquire));
        }
        // In one step the word has the counts and no longer says where they
        // are: that part is the lock holder's to change, so that addition does
        // it. Order and Release: as in `settle`.
        let closed = owner_bits(CLOSED) - owner_bits(SHARED | CLOSING | place as u8);
        self.word
            .fetch_add(counted * ONE + closed, Ordering::Release);
        for line in owners.in_use() {
            // Release: see `count`. For the next that count in this place,
            // `give_back` and `reopen` pass it on.
            line.counts[place].store(0, Ordering::Release);
        }
        owners.give_back(place);
    }

    /// Has the threads that use a live entry share it, each counting for
    /// itself. `false`: it is not live and filed, or no place is to be had, and
    /// it has no owner now.
    pub fn share(&self, caller: Caller<'_>) -> bool {
        self.revoke(caller);
        if self.word.load(Ordering::Relaxed) & (STATE | OWNER) != LIVE_CLOSED {
            return false;
        }
        // Under the lock nothing but the count changes before `reopen`.
        let place = caller.owners.lend(self.address());
        self.reopen(place.map_or(NOBODY, |place| SHARED | place as u8));
        place.is_some()
    }

    /// Ends the ownership or sharing of a live entry; the count in the word is
    /// the sum from here on, until `detach`, `claim_idle`, `unfile` or `reopen`.
    pub fn revoke(&self, caller: Caller<'_>) {
        if let Some(owner) = self.close() {
            if !caller.is(owner) {
                heavy();
            }
            self.settle(caller.owners, owner);
        }
    }

    /// Gives a closed entry to an owner, or to [`NOBODY`].
    pub fn reopen(&self, number: u8) {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & (STATE | OWNER) == LIVE_CLOSED {
            // Release: pairs with the Acquire of `adopt`: `own` is 0; and of
            // `take_at`: so are the counts in the place.
            match self.word.compare_exchange_weak(
                word,
                word & !OWNER | owner_bits(number),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    /// Makes a live entry nobody's.
    pub fn disown(&self, caller: Caller<'_>) {
        self.revoke(caller);
        self.reopen(NOBODY);
    }

    /// Ends the ownership and retires the entry if nobody uses it.
    #[inline]
    pub fn revoke_idle(&self, caller: Caller<'_>) -> bool {
        // Without an owner `own` is 0, and the word alone the sum.
        self.retire_from(LIVE) || {
            self.revoke(caller);
            self.claim_idle()
        }
    }
}

/// The most entries that [`revoke_all`] sees to.
pub(crate) const BATCH: usize = 64;

/// As [`Refs::revoke`] for up to [`BATCH`] entries, with one barrier.
pub(crate) fn revoke_all<'e>(entries: impl Iterator<Item = &'e Refs> + Clone, caller: Caller<'_>) {
    let mut closed = [NOBODY; BATCH];
    let mut foreign = false;
    for (refs, place) in entries.clone().zip(&mut closed) {
        if let Some(owner) = refs.close() {
            *place = owner;
            foreign |= !caller.is(owner);
        }
    }
    if foreign {
        heavy();
    }
    for (refs, owner) in entries.zip(closed) {
        if owner != NOBODY {
            refs.settle(caller.owners, owner);
        }
    }
}
