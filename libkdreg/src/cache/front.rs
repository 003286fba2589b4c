// SPDX-License-Identifier: MIT OR Apache-2.0
//! The front index: from a page to the entry that served it last.
//!
//! A hint, read and written without locks: a wrong or missing answer costs a
//! look into the tree, never a wrong registration, since whoever follows the
//! hint checks the entry itself. Any page can be a key, so an interior
//! address is found as fast as a base address once it was looked up.

use crate::errno::Errno;
use crate::lock::Mutex;
use crate::prefetch::prefetch;
use crate::race_detector;
use crate::reservation::{OnFork, Reservation, Zeroed};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Places a key may be in: one cache line.
const WAYS: usize = 8;

/// 2^64 / golden ratio: spreads page numbers over the high bits.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// One line of places: (tag << 32) | entry + 1, or 0.
#[repr(C, align(64))]
struct Bucket([AtomicU64; WAYS]);

// SAFETY: zero is eight free places, and it owns nothing.
unsafe impl Zeroed for Bucket {}

/// Buckets, a power of two of them but one at least, and how far a hash is
/// shifted down to choose one: in one word, since a hit waits for it. Buckets
/// are aligned to 64, and the low six bits are the shift.
#[derive(Clone, Copy)]
struct Table(usize);

impl Table {
    fn new(buckets: &Reservation<Bucket>) -> Table {
        let shift = 64 - buckets.capacity().trailing_zeros();
        Table(std::ptr::from_ref(buckets.at(0)) as usize | shift as usize)
    }

    fn buckets(self) -> usize {
        1 << (64 - (self.0 & 63))
    }
}

/// See the module's documentation.
pub(crate) struct Front {
    /// The current [`Table`].
    current: AtomicUsize,
    page_shift: u32,
    /// Every table there ever was, the current one last: readers may still be
    /// in an old one, so their addresses go with the cache. Their memory goes
    /// at once: what is left reads as free places. Protects the growing,
    /// nothing else.
    tables: Mutex<Vec<Reservation<Bucket>>>,
}

impl Bucket {
    /// The entry in the `way`th place to look at, if it is noted for this hash.
    #[inline(always)]
    fn entry(&self, hash: u64, way: usize) -> Option<u32> {
        self.entry_in(hash, place_of(hash, way))
    }

    /// The entry in a place, if it is noted for this hash.
    #[inline(always)]
    fn entry_in(&self, hash: u64, place: usize) -> Option<u32> {
        // Acquire: the entry's index was committed before it was noted.
        let place = self.0[place % WAYS].load(Ordering::Acquire);
        (place >> 32 == tag(hash) >> 32 && place as u32 != 0).then(|| place as u32 - 1)
    }

    /// Whether any place mentions this hash: takes no branch for each place.
    #[inline(always)]
    fn mentions(&self, hash: u64) -> bool {
        // Relaxed: what is found is looked at again.
        let here = |place: &AtomicU64| place.load(Ordering::Relaxed) >> 32 == tag(hash) >> 32;
        self.0.iter().fold(false, |any, place| any | here(place))
    }

    /// The places that mention this hash, a bit each.
    #[inline(always)]
    fn mentioning(&self, hash: u64) -> u32 {
        // Relaxed: what is found is looked at again.
        let here = |place: &AtomicU64| place.load(Ordering::Relaxed) >> 32 == tag(hash) >> 32;
        let places = self.0.iter().enumerate();
        places.fold(0, |all, (place, word)| all | u32::from(here(word)) << place)
    }

    /// What there is for this hash when `value` is to be noted for it.
    #[inline(never)]
    fn dead_of_page(&self, hash: u64, value: u64, is_live: &impl Fn(u32) -> bool) -> Noted {
        let mut dead = None;
        for place in (0..WAYS).map(|way| place_of(hash, way)) {
            // Acquire: `is_live` looks at entries, and those were committed
            // before they were noted.
            let now = self.0[place].load(Ordering::Acquire);
            if now == value {
                return Noted::Already;
            }
            let of_page = now as u32 != 0 && (now ^ value) >> 32 == 0;
            if of_page && dead.is_none() && !is_live(now as u32 - 1) {
                dead = Some(place);
            }
        }
        dead.map_or(Noted::No, Noted::Dead)
    }
}

/// What a bucket holds for a page that an entry is to be noted for.
enum Noted {
    /// The entry itself.
    Already,
    /// In this place, an entry that is not live.
    Dead(usize),
    /// Nothing that is of no use.
    No,
}

/// The `way`th place to look at: each key has its own order.
#[inline(always)]
fn place_of(hash: u64, way: usize) -> usize {
    // The bits below those that choose among 2^20 buckets: the lower a bit, the
    // fewer bits of the page number it depends on.
    ((hash >> 41) as usize ^ way) % WAYS
}

/// What a place says of the page that it is for.
#[inline]
fn tag(hash: u64) -> u64 {
    // The low half; the high bits chose the bucket.
    hash << 32
}

/// What a place holds that says where an entry is.
#[inline]
fn value(hash: u64, entry: u32) -> u64 {
    tag(hash) | (u64::from(entry) + 1)
}

/// As many buckets, with memory for them.
fn buckets(count: usize) -> Result<Reservation<Bucket>, Errno> {
    debug_assert!(count.is_power_of_two() && count > 1);
    let buckets = Reservation::new(count, OnFork::Copy)?;
    buckets.commit(count)?;
    Ok(buckets)
}

impl Front {
    pub fn new(page_shift: u32) -> Result<Front, Errno> {
        let buckets = buckets(8)?;
        let mut tables = Vec::new();
        tables.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let current = AtomicUsize::new(Table::new(&buckets).0);
        tables.push(buckets);
        Ok(Front {
            current,
            tables: Mutex::new(tables),
            page_shift,
        })
    }

    #[inline(always)]
    fn table(&self) -> Table {
        // Acquire: pairs with the Release in `reserve`, which publishes the
        // table's memory.
        Table(self.current.load(Ordering::Acquire))
    }

    #[inline(always)]
    fn hash(&self, address: usize) -> u64 {
        ((address >> self.page_shift) as u64).wrapping_mul(MULTIPLIER)
    }

    #[inline(always)]
    fn bucket(&self, hash: u64) -> &Bucket {
        let Table(table) = self.table();
        let index = (hash >> (table & 63)) as usize;
        let first = (table & !63) as *const Bucket;
        // SAFETY: a table has 2^(64 - shift) buckets, which live as long as
        // `self`, and are all accessible.
        unsafe { &*first.add(index) }
    }

    /// The entry that is likeliest to be noted for the page of `address`, if
    /// it is.
    #[inline(always)]
    pub fn first(&self, address: usize) -> Option<u32> {
        let hash = self.hash(address);
        self.bucket(hash).entry(hash, 0)
    }

    /// Whether any entry may be noted for the page of `address`: for those who
    /// expect none, since it takes no branch for each place.
    #[inline(always)]
    pub fn mentions(&self, address: usize) -> bool {
        let hash = self.hash(address);
        self.bucket(hash).mentions(hash)
    }

    /// An entry noted for the page of `address` that `accept` takes. In places
    /// that [`first`](Self::first) does not look at before those it does.
    #[inline]
    pub fn find<T>(&self, address: usize, mut accept: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let hash = self.hash(address);
        let bucket = self.bucket(hash);
        // What was not noted in its first place is likely in its second.
        if let Some(found) = bucket.entry(hash, 1).and_then(&mut accept) {
            return Some(found);
        }
        // Then the others: it is rarely in any.
        if !bucket.mentions(hash) {
            return None;
        }
        let mut mentioning = bucket.mentioning(hash) & !(1 << place_of(hash, 1));
        while mentioning != 0 {
            let place = mentioning.trailing_zeros() as usize;
            mentioning &= mentioning - 1;
            if let Some(found) = bucket.entry_in(hash, place).and_then(&mut accept) {
                return Some(found);
            }
        }
        None
    }

    /// Notes that `entry` covers `address`. `is_live` says which of the
    /// entries noted so far are worth keeping; it is asked only where no place
    /// is free, since each entry asked about is a line of memory of its own.
    pub fn note(&self, address: usize, entry: u32, is_live: impl Fn(u32) -> bool) {
        if race_detector::is_present() {
            // Who finds an entry must tell it.
            return;
        }
        let hash = self.hash(address);
        let bucket = self.bucket(hash);
        let value = value(hash, entry);
        let mut same_page = None;
        if bucket.mentions(hash) {
            match bucket.dead_of_page(hash, value, &is_live) {
                Noted::Already => return,
                Noted::Dead(place) => same_page = Some(place),
                Noted::No => {}
            }
        }
        let places = || (0..WAYS).map(|way| place_of(hash, way));
        // Relaxed: nothing is behind it.
        let is_free = |place: &usize| bucket.0[*place].load(Ordering::Relaxed) == 0;
        let chosen = same_page
            .or_else(|| places().find(is_free))
            .unwrap_or_else(|| {
                // Acquire: as in `dead_of_page`.
                let dead = |place: &usize| {
                    let now = bucket.0[*place].load(Ordering::Acquire);
                    now == 0 || !is_live(now as u32 - 1)
                };
                places().find(dead).unwrap_or(place_of(hash, 0))
            });
        // Release: pairs with the Acquires above, and in `entry_in` and
        // `dead_of_page`. A racing note may be lost: it is a hint.
        bucket.0[chosen].store(value, Ordering::Release);
    }

    /// Takes out what was noted of `entry` for the page of `address`, so that
    /// the place is seen to be free. To be called before the entry's index is
    /// given to another: a later note of the same words is not to go.
    #[inline]
    pub fn forget(&self, address: usize, entry: u32) {
        let hash = self.hash(address);
        let value = value(hash, entry);
        let places = &self.bucket(hash).0;
        // Relaxed, and not in one step: a note that another thread makes in
        // between may be lost, as any may.
        if let Some(place) = places.iter().find(|p| p.load(Ordering::Relaxed) == value) {
            place.store(0, Ordering::Relaxed);
        }
    }

    /// Has the line brought near in which the page of `address` is noted.
    #[inline]
    pub fn prefetch(&self, address: usize) {
        prefetch(self.bucket(self.hash(address)));
    }

    /// Makes the index large enough for `entries`, if there is memory for it;
    /// maps memory, so not to be called under a lock. Notes made so far are
    /// forgotten: a place holds its page's tag only, which does not tell where
    /// it belongs in another table.
    #[inline]
    pub fn reserve(&self, entries: usize) {
        // Half full at most: of buckets of eight one in fifty is then too
        // small.
        if entries * 2 > self.table().buckets() * WAYS {
            self.grow(entries);
        }
    }

    #[cold]
    fn grow(&self, entries: usize) {
        let mut tables = self.tables.lock();
        let wanted = (entries * 2).div_ceil(WAYS).next_power_of_two();
        if wanted <= self.table().buckets() || tables.try_reserve(1).is_err() {
            return;
        }
        let Ok(larger) = buckets(wanted) else {
            return;
        };
        // Release: pairs with the Acquire in `table`.
        self.current.store(Table::new(&larger).0, Ordering::Release);
        if let Some(former) = tables.last() {
            former.discard();
        }
        tables.push(larger);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every entry noted for the page.
    fn candidates(front: &Front, address: usize) -> Vec<u32> {
        let mut all = Vec::new();
        front.find::<()>(address, |entry| {
            all.push(entry);
            None
        });
        all
    }

    #[test]
    fn finds_what_was_noted() {
        let front = Front::new(12).unwrap();
        front.reserve(10_000);
        for entry in 0..10_000u32 {
            front.note(entry as usize * 4096 + 17, entry, |_| true);
        }
        let found = (0..10_000u32)
            .filter(|&entry| candidates(&front, entry as usize * 4096).contains(&entry))
            .count();
        assert!(found > 9_800, "{found}");
        assert_eq!(
            candidates(&front, 20_000 * 4096)
                .iter()
                .filter(|c| **c >= 10_000)
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
        assert!(candidates(&front, 0x5000).contains(&0));
        assert!(candidates(&front, 0x5000).contains(&999));
    }

    #[test]
    fn a_note_is_forgotten_and_no_other() {
        let front = Front::new(12).unwrap();
        front.note(0x5000, 1, |_| true);
        front.note(0x5000, 2, |_| true);
        // Not noted: for this page, or this entry.
        front.forget(0x6000, 2);
        front.forget(0x5000, 3);
        assert_eq!(candidates(&front, 0x5123).len(), 2);
        front.forget(0x5123, 1);
        assert_eq!(candidates(&front, 0x5000), [2]);
    }

    /// As long as there is a free place no entry is asked about, but those
    /// noted for the page itself.
    #[test]
    fn what_is_forgotten_makes_room_without_asking() {
        let front = Front::new(12).unwrap();
        for entry in 0..10_000u32 {
            let address = entry as usize * 4096;
            front.note(address, entry, |other| panic!("asked about {other}"));
            front.forget(address, entry);
        }
        front.note(0x5000, 1, |_| true);
        front.note(0x5000, 2, |other| {
            assert_eq!(other, 1);
            false
        });
        assert_eq!(candidates(&front, 0x5000), [2]);
    }
}
