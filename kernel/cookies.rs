// SPDX-License-Identifier: GPL-2.0-only

//! Finding an active region by its cookie: a hash table without memory of its own.
//!
//! Linear hashing: there are as many buckets as slots have memory, and bucket `i` keeps the head of
//! its chain in slot `i`. When a chunk of slots is added, each of its buckets takes its share from
//! one older bucket. So nothing is ever allocated for the table, and growing it takes a bounded
//! number of short steps.
//!
//! # What bounds a chain
//!
//! Whoever chooses the cookies is not trusted. No hash keeps him from long chains: he can add
//! cookies one by one, find out by a clock which of them share a chain with the first, and let go
//! of the others; of as many as there are buckets it is one, and in a small table that is soon. So
//! what others may have to wait for is bounded by a rule instead of a secret: a chain that has
//! [`CHAIN_MAX`] slots takes no more. Whoever gets there is told ENOSPC, and nobody else is, as the
//! table is that of one descriptor. Even where all chains are as long as that, which takes knowing
//! the hash, the lock is held for a time of the same order (docs/kernel-module.md has both measured).
//!
//! What the hash is for is that nobody gets there who does not take such pains. Cookies are
//! addresses, counters, numbers shifted into the upper half: every bit of one has to have a part in
//! every bit of the bucket, and no set that is written down beforehand may be bad for all keys. Two
//! multiplications of 64 by 64 bits, each folded (the upper half of the product onto the lower),
//! under a key of 256 bits that is random for each descriptor and never told, do that in a dozen
//! instructions. What a clock tells about the cookies of one descriptor is of no use against
//! another. The kernel's hash for such tables (hsiphash, which is SipHash-1-3) is stronger where a
//! hash is all there is; here it would protect nobody more, and it costs 127 instructions, where a
//! region of a batch costs 215.
//!
//! By chance no chain gets that long: a bucket has two slots on average at most (one that is yet
//! to be split), so that with a probability below 10^-65 one chain of a million has more than 64.

use crate::slots::{Slot, Slots, NIL};
use core::cell::Cell;
use kernel::bindings;
use kernel::error::{code::ENOSPC, Result};

/// The most slots in a chain.
const CHAIN_MAX: usize = 64;

/// The table. Its chains are in the slots.
///
/// # Invariants
///
/// - Slots with index below `buckets` have memory, and `mask + 1` is the lowest power of two that
///   is not below `buckets` (`mask` is 0 when that is 0).
/// - `slots`, wherever it is a parameter, are those that the table has grown over; as they are taken
///   away, it is cleared.
/// - No chain has more than [`CHAIN_MAX`] slots.
/// - An active slot is in the chain of the bucket that [`Cookies::bucket`] says; no other slot is in
///   a chain.
pub(crate) struct Cookies {
    buckets: u32,
    mask: u32,
    /// Random, and never told.
    key: [u64; 4],
}

impl Cookies {
    pub(crate) fn new() -> Self {
        let mut key = [0u64; 4];
        // SAFETY: This can be called at any time, and writes the integers of `key`.
        unsafe { bindings::get_random_bytes((&raw mut key).cast(), size_of_val(&key)) };
        // A factor of zero would make one bucket of all.
        key[1] |= 1;
        key[3] |= 1;
        // INVARIANT: There is no bucket and no active slot.
        Self {
            buckets: 0,
            mask: 0,
            key,
        }
    }

    /// Forgets all buckets, as the slots are being taken away.
    pub(crate) fn clear(&mut self) {
        self.buckets = 0;
        self.mask = 0;
    }

    #[inline(always)]
    fn bucket(&self, cookie: u64) -> u32 {
        let [a, b, c, d] = self.key;
        let hash = fold(fold(cookie ^ a, b) ^ c, d) as u32;
        let bucket = hash & self.mask;
        if bucket < self.buckets {
            bucket
        } else {
            self.before_split(bucket)
        }
    }

    /// The bucket that has what will belong into one that is not there yet.
    #[cold]
    #[inline(always)]
    fn before_split(&self, bucket: u32) -> u32 {
        bucket & (self.mask >> 1)
    }

    /// Whether there is no bucket yet: no slot has memory.
    pub(crate) fn is_empty(&self) -> bool {
        self.buckets == 0
    }

    /// Head of the chain that has the slot with this cookie, if there is one. None while no slot
    /// has memory.
    #[inline(always)]
    pub(crate) fn head<'a>(&self, slots: &'a Slots, cookie: u64) -> Option<&'a Cell<u32>> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: There is a bucket, as was just seen.
        Some(unsafe { self.head_of(slots, cookie) })
    }

    /// The same without asking.
    ///
    /// # Safety
    ///
    /// There is a bucket.
    #[inline(always)]
    pub(crate) unsafe fn head_of<'a>(&self, slots: &'a Slots, cookie: u64) -> &'a Cell<u32> {
        // SAFETY: By the type invariants slots below `buckets` have memory; with one of them at
        // least, `bucket` is among them.
        let (slot, _) = unsafe { slots.present(self.bucket(cookie)) };
        &slot.bucket
    }

    /// The active slot with this cookie, whose chain begins at `head`.
    #[inline(always)]
    pub(crate) fn find<'a>(slots: &'a Slots, head: &Cell<u32>, cookie: u64) -> Option<&'a Slot> {
        let mut next = head.get();
        // SAFETY: `head` is a `bucket` of these slots, and all else a `chain`.
        while let Some((slot, _)) = unsafe { slots.listed(next) } {
            if slot.cookie.get() == cookie {
                return Some(slot);
            }
            next = slot.chain.get();
        }
        None
    }

    /// The same for a cookie that is to be added if it is not there: ENOSPC when the chain takes no
    /// more.
    #[inline(always)]
    pub(crate) fn find_or_room<'a>(
        slots: &'a Slots,
        head: &Cell<u32>,
        cookie: u64,
    ) -> Result<Option<&'a Slot>> {
        let mut next = head.get();
        let mut length = 0usize;
        // SAFETY: As in `find`.
        while let Some((slot, _)) = unsafe { slots.listed(next) } {
            if slot.cookie.get() == cookie {
                return Ok(Some(slot));
            }
            next = slot.chain.get();
            // Never more than `CHAIN_MAX`.
            length = length.wrapping_add(1);
        }
        if length < CHAIN_MAX {
            Ok(None)
        } else {
            Err(ENOSPC)
        }
    }

    /// Adds a slot that becomes active, and whose chain begins at `head`.
    pub(crate) fn insert(head: &Cell<u32>, slot: &Slot) {
        slot.chain.set(head.replace(slot.index.get()));
    }

    /// Removes a slot that is no longer active.
    pub(crate) fn remove(&self, slots: &Slots, slot: &Slot) {
        if let Some(head) = self.head(slots, slot.cookie.get()) {
            Self::remove_from(slots, head, slot);
        }
    }

    /// The same for a slot whose chain begins at `head`.
    pub(crate) fn remove_from(slots: &Slots, head: &Cell<u32>, slot: &Slot) {
        let mut place = head;
        while place.get() != slot.index.get() {
            match slots.get(place.get()) {
                Some(other) => place = &other.chain,
                None => return,
            }
        }
        place.set(slot.chain.replace(NIL));
    }

    /// Makes use of slots that have got memory: there are `buckets` now.
    pub(crate) fn grow(&mut self, slots: &Slots, buckets: u32) {
        while self.buckets < buckets && slots.get(self.buckets).is_some() {
            // INVARIANT: This slot has memory. The slots of the chains are put where `bucket` says
            // from now on, just below; those of all other buckets stay, as `mask` gains a bit only
            // when all buckets without it have been there.
            let new = self.buckets;
            self.buckets += 1;
            self.mask = self.buckets.next_power_of_two() - 1;
            if new > 0 {
                self.split(slots, new & (self.mask >> 1), new);
            }
        }
    }

    /// Moves what belongs into the bucket `new` there from the bucket `old`.
    fn split(&self, slots: &Slots, old: u32, new: u32) {
        let (Some(from), Some(to)) = (slots.get(old), slots.get(new)) else {
            return;
        };
        let mut place = &from.bucket;
        while let Some(slot) = slots.get(place.get()) {
            if self.bucket(slot.cookie.get()) == new {
                place.set(slot.chain.get());
                slot.chain.set(to.bucket.replace(slot.index.get()));
            } else {
                place = &slot.chain;
            }
        }
    }
}

/// The product of both, its halves taken together.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}
