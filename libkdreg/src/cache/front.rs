// SPDX-License-Identifier: MIT OR Apache-2.0
//! The front index: from a page to the entry that served it last.
//!
//! A hint, read and written without locks: a wrong or missing answer costs a
//! look into the tree, never a wrong registration, since whoever follows the
//! hint checks the entry itself. Any page can be a key, so an interior
//! address is found as fast as a base address once it was looked up.

use crate::errno::Errno;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Places a key may be in: one cache line.
const WAYS: usize = 8;

/// 2^64 / golden ratio: spreads page numbers over the high bits.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// One line of places: (tag << 32) | entry + 1, or 0.
#[repr(C, align(64))]
struct Bucket([AtomicU64; WAYS]);

struct Table {
    buckets: Box<[Bucket]>,
    /// How far the hash is shifted down to give the bucket.
    shift: u32,
}

impl Table {
    /// `None` when there is no memory for it.
    fn new(buckets: usize) -> Option<Table> {
        debug_assert!(buckets.is_power_of_two());
        let mut places = Vec::new();
        places.try_reserve_exact(buckets).ok()?;
        places.resize_with(buckets, || Bucket([const { AtomicU64::new(0) }; WAYS]));
        Some(Table {
            buckets: places.into_boxed_slice(),
            shift: 64 - buckets.trailing_zeros(),
        })
    }

    #[inline]
    fn bucket(&self, hash: u64) -> &Bucket {
        // A shift by 64 (one bucket) would overflow; the mask keeps it legal.
        let index = hash.checked_shr(self.shift).unwrap_or(0) as usize;
        &self.buckets[index & (self.buckets.len() - 1)]
    }
}

/// See the module's documentation.
pub(crate) struct Front {
    current: AtomicPtr<Table>,
    /// Every table there ever was, the current one last: readers may still be
    /// in an old one, so they go with the cache. They add up to one more of
    /// the current size. Protects the growing, nothing else.
    tables: Mutex<Vec<Owned>>,
    page_shift: u32,
}

/// A table from `Box::into_raw`, freed with its owner.
struct Owned(*mut Table);

// SAFETY: tables are atomics and plain data, not tied to a thread.
unsafe impl Send for Owned {}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: from `Box::into_raw`, freed once; with the front index, its
        // readers are gone.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// A page's hash and where it leads.
#[inline]
fn tag(hash: u64) -> u64 {
    // The middle bits: the high ones chose the bucket, the low ones are weak.
    (hash >> 8) << 32
}

impl Front {
    pub fn new(page_shift: u32) -> Result<Front, Errno> {
        let table = Box::into_raw(Box::new(Table::new(8).ok_or(Errno::ENOMEM)?));
        Ok(Front {
            current: AtomicPtr::new(table),
            tables: Mutex::new(vec![Owned(table)]),
            page_shift,
        })
    }

    #[inline]
    fn table(&self) -> &Table {
        // SAFETY: tables live as long as `self`. Acquire: pairs with the
        // Release in `reserve`, which publishes the table's contents.
        unsafe { &*self.current.load(Ordering::Acquire) }
    }

    #[inline]
    fn hash(&self, address: usize) -> u64 {
        ((address >> self.page_shift) as u64).wrapping_mul(MULTIPLIER)
    }

    /// The entries that may cover `address`, the likeliest first.
    #[inline]
    pub fn candidates(&self, address: usize) -> impl Iterator<Item = u32> {
        let hash = self.hash(address);
        let bucket = self.table().bucket(hash);
        let (tag, first) = (tag(hash), hash as usize);
        (0..WAYS).filter_map(move |way| {
            // Acquire: the entry's index was committed before it was noted.
            let place = bucket.0[(first ^ way) % WAYS].load(Ordering::Acquire);
            (place & !0xffff_ffff == tag && place as u32 != 0).then(|| place as u32 - 1)
        })
    }

    /// Notes that `entry` covers `address`. `is_live` says which of the
    /// entries noted so far are worth keeping.
    pub fn note(&self, address: usize, entry: u32, is_live: impl Fn(u32) -> bool) {
        let hash = self.hash(address);
        let bucket = self.table().bucket(hash);
        let (tag, first) = (tag(hash), hash as usize);
        let value = tag | (u64::from(entry) + 1);
        let mut chosen = first % WAYS;
        let mut found_free = false;
        for way in 0..WAYS {
            let place = (first ^ way) % WAYS;
            let now = bucket.0[place].load(Ordering::Relaxed);
            if now == value {
                return;
            }
            let same_page = now & !0xffff_ffff == tag;
            let free = now == 0 || !is_live(now as u32 - 1);
            if same_page && free {
                chosen = place;
                break;
            }
            if free && !found_free {
                (chosen, found_free) = (place, true);
            }
        }
        // Release: pairs with the Acquire in `candidates`. A racing note may
        // be lost: it is a hint.
        bucket.0[chosen].store(value, Ordering::Release);
    }

    /// Makes the index large enough for `entries`, if there is memory for it;
    /// allocates, so not to be called under a lock. Notes made so far are
    /// forgotten: a place holds its page's tag only, which does not tell where
    /// it belongs in another table.
    pub fn reserve(&self, entries: usize) {
        if entries * 2 <= self.table().buckets.len() * WAYS {
            return;
        }
        let mut tables = self.tables.lock();
        let buckets = (entries * 4).div_ceil(WAYS).next_power_of_two();
        if buckets <= self.table().buckets.len() || tables.try_reserve(1).is_err() {
            return;
        }
        let Some(table) = Table::new(buckets) else {
            return;
        };
        let table = Box::into_raw(Box::new(table));
        tables.push(Owned(table));
        // Release: pairs with the Acquire in `table`.
        self.current.store(table, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_noted() {
        let front = Front::new(12).unwrap();
        front.reserve(10_000);
        for entry in 0..10_000u32 {
            front.note(entry as usize * 4096 + 17, entry, |_| true);
        }
        let found = (0..10_000u32)
            .filter(|&entry| front.candidates(entry as usize * 4096).any(|c| c == entry))
            .count();
        assert!(found > 9_800, "{found}");
        assert_eq!(
            front
                .candidates(20_000 * 4096)
                .filter(|&c| c >= 10_000)
                .count(),
            0
        );
    }

    #[test]
    fn replaces_dead_notes_first() {
        let front = Front::new(12).unwrap();
        for entry in 0..1000u32 {
            front.note(0x5000, entry, |other| other == 0);
        }
        assert!(front.candidates(0x5000).any(|c| c == 0));
        assert!(front.candidates(0x5000).any(|c| c == 999));
    }
}
