// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page index: from a page to the entry that served it last.
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
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Places a key may be in: one cache line.
const WAYS: usize = 8;

/// At how many of them `first` looks.
const FIRST_WAYS: usize = 4;

/// The key of an address: its page; on machines with larger ones, a part of one,
/// and each that is used has a place of its own.
const PAGE_SHIFT: u32 = 12;

/// Spreads page numbers over the high bits. Found by trial: of 100 to 65,536 pages
/// at distances of 1 to 2^14 none is noted in a place that `first` does not look at.
const MULTIPLIER: u32 = 0xdd9d_c9f9;

/// A place has bits for offsets up to this. An entry is known here by its offset
/// among the entries, in bytes, which is what a hit needs.
pub(super) const MAX_OFFSET: usize = u32::MAX as usize;

/// One line of places: (entry's offset << 32) | tag, or 0: there is no entry at
/// offset 0.
#[repr(C, align(64))]
struct Bucket([AtomicU64; WAYS]);

// SAFETY: zero is eight free places, and it owns nothing.
unsafe impl Zeroed for Bucket {}

/// See the module's documentation.
pub(crate) struct PageIndex {
    /// The first place of the current table, of [`Bucket`]s: a power of two of
    /// them but one at least.
    base: AtomicPtr<AtomicU64>,
    /// How many places it has. Stored after a larger table's base, with Release,
    /// and loaded, with Acquire, before it: the base that is seen has as many, or
    /// more.
    places: AtomicUsize,
    /// Every table there ever was, the current one last: readers may still be
    /// in an old one, so their addresses go with the cache. Their memory goes
    /// at once: what is left reads as free places. Protects the growing,
    /// nothing else.
    tables: Mutex<Vec<Reservation<Bucket>>>,
}

/// What a page is looked up by.
#[derive(Clone, Copy)]
struct Hash(u32);

impl Hash {
    #[inline(always)]
    fn of(address: usize) -> Hash {
        Hash(((address >> PAGE_SHIFT) as u32).wrapping_mul(MULTIPLIER))
    }

    /// What a place says of the page that it is for: no two that are less than
    /// 2^32 pages apart have the same.
    #[inline(always)]
    fn tag(self) -> u32 {
        self.0
    }

    /// What a place holds that says where an entry is.
    #[inline]
    fn value(self, entry: u32) -> u64 {
        u64::from(entry) << 32 | u64::from(self.tag())
    }
}

/// The entry that a place names.
#[inline(always)]
fn entry_of(value: u64) -> u32 {
    (value >> 32) as u32
}

/// What `accept` makes of the entry that is noted in a place for this hash, if one is.
#[inline(always)]
fn noted_at<T>(place: &AtomicU64, hash: Hash, accept: impl FnOnce(u32) -> Option<T>) -> Option<T> {
    // Acquire: as in `first`.
    let value = place.load(Ordering::Acquire);
    if value as u32 == hash.tag() && entry_of(value) != 0 {
        accept(entry_of(value))
    } else {
        None
    }
}

impl Bucket {
    /// Whether any place mentions this hash: takes no branch for each place.
    #[inline(always)]
    fn mentions(&self, hash: Hash) -> bool {
        self.mentioning(hash) != 0
    }

    /// The places that mention this hash, a bit each.
    #[inline(always)]
    fn mentioning(&self, hash: Hash) -> u32 {
        // Relaxed: what is found is looked at again.
        let here = |place: &AtomicU64| place.load(Ordering::Relaxed) as u32 == hash.tag();
        let places = self.0.iter().enumerate();
        places.fold(0, |all, (place, word)| all | u32::from(here(word)) << place)
    }

    /// What there is for this hash when `value` is to be noted for it.
    #[inline(never)]
    fn dead_of_page(&self, first: usize, value: u64, is_live: &impl Fn(u32) -> bool) -> Noted {
        let mut dead = None;
        for place in (0..WAYS).map(|way| first ^ way) {
            // Acquire: `is_live` looks at entries, and those were committed
            // before they were noted.
            let now = self.0[place].load(Ordering::Acquire);
            if now == value {
                return Noted::Already;
            }
            let of_page = entry_of(now) != 0 && now as u32 == value as u32;
            if of_page && dead.is_none() && !is_live(entry_of(now)) {
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

/// As many buckets, with memory for them.
fn buckets(count: usize) -> Result<Reservation<Bucket>, Errno> {
    debug_assert!(count.is_power_of_two() && count > 1);
    let buckets = Reservation::new(count, OnFork::Copy)?;
    buckets.commit(count)?;
    Ok(buckets)
}

impl PageIndex {
    pub fn new() -> Result<PageIndex, Errno> {
        let buckets = buckets(8)?;
        let mut tables = Vec::new();
        tables.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let page_index = PageIndex {
            base: AtomicPtr::new(std::ptr::null_mut()),
            places: AtomicUsize::new(0),
            tables: Mutex::new(Vec::new()),
        };
        page_index.lead_to(&buckets);
        tables.push(buckets);
        *page_index.tables.lock() = tables;
        Ok(page_index)
    }

    /// Has lookups look into a table, the first one or one that is larger than
    /// that before.
    fn lead_to(&self, table: &Reservation<Bucket>) {
        // Not from a reference to the first bucket, which would be good for that one.
        let first = table.pointer(0).cast::<AtomicU64>();
        self.base.store(first, Ordering::Release);
        // Release: pairs with the Acquire in `place`, and publishes the base.
        self.places
            .store(table.capacity() * WAYS, Ordering::Release);
    }

    pub(super) fn buckets(&self) -> usize {
        self.places.load(Ordering::Relaxed) / WAYS
    }

    /// The first place to look at for a hash, by its number in the table.
    #[inline(always)]
    fn place(&self, hash: Hash) -> (*const AtomicU64, usize) {
        // Acquire: pairs with the Release in `lead_to`: what is loaded next is
        // this table's base or that of a larger one.
        let places = self.places.load(Ordering::Acquire);
        // Acquire: likewise: the table's memory.
        let base = self.base.load(Ordering::Acquire);
        // The high bits of the hash: as a fraction of the places, of which there
        // are less than 2^32.
        let place = (u64::from(hash.0) * places as u64) >> 32;
        (base, place as usize)
    }

    /// The bucket of a hash, and the first place in it to look at; the others
    /// follow in an order that depends on it: the `way`th is `first ^ way`.
    #[inline]
    fn bucket(&self, hash: Hash) -> (&Bucket, usize) {
        let (base, place) = self.place(hash);
        // SAFETY: see `places`: the place is in the table, which is one of
        // buckets, all accessible, and lives as long as `self`.
        let bucket = unsafe { &*base.add(place & !(WAYS - 1)).cast::<Bucket>() };
        (bucket, place % WAYS)
    }

    /// The offset, among the entries, of that which is likeliest to be noted for
    /// the page of `address`. Says no more than that there is an entry: where
    /// nothing is noted it can be entry 0, which is never live.
    #[inline(always)]
    pub fn first(&self, address: usize) -> Option<usize> {
        let hash = Hash::of(address);
        let (base, place) = self.place(hash);
        let mut place = base.wrapping_add(place);
        for way in 1..=FIRST_WAYS {
            // SAFETY: as in `bucket`: buckets are aligned, so that what differs in
            // the low bits of a place's number is in the same one.
            // Acquire: the entry was committed before it was noted.
            let value = unsafe { &*place }.load(Ordering::Acquire);
            if value as u32 == hash.tag() {
                return Some(entry_of(value) as usize);
            }
            // The places in the order of their ways, one after the other.
            let step = (way ^ (way - 1)) * size_of::<AtomicU64>();
            place = place.with_addr(place.addr() ^ step);
        }
        None
    }

    /// What `accept` makes of the first entry that it takes, of those noted for the
    /// page of `address`.
    #[inline]
    pub fn find<T>(&self, address: usize, mut accept: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let hash = Hash::of(address);
        let (bucket, first) = self.bucket(hash);
        let mentioning = bucket.mentioning(hash);
        if mentioning == 0 {
            return None;
        }
        (0..WAYS)
            .map(|way| first ^ way)
            .filter(|place| mentioning & 1 << place != 0)
            .find_map(|place| noted_at(&bucket.0[place], hash, &mut accept))
    }

    /// As `find`, where `first` has found nothing: of the other places alone.
    #[inline]
    pub fn find_beyond_first<T>(
        &self,
        address: usize,
        mut accept: impl FnMut(u32) -> Option<T>,
    ) -> Option<T> {
        let hash = Hash::of(address);
        let (bucket, first) = self.bucket(hash);
        // Ways are told apart by the low bits, so that those that `first` takes
        // are the half of the bucket that it begins in.
        let half = !first & FIRST_WAYS;
        bucket.0[half..half + FIRST_WAYS]
            .iter()
            .find_map(|place| noted_at(place, hash, &mut accept))
    }

    /// Notes that `entry` covers `address`. `is_live` says which of the
    /// entries noted so far are worth keeping; it is asked only where no place
    /// is free, since each entry asked about is a line of memory of its own.
    pub fn note(&self, address: usize, entry: u32, is_live: impl Fn(u32) -> bool) {
        if race_detector::is_present() {
            // Who finds an entry must tell it.
            return;
        }
        let hash = Hash::of(address);
        let (bucket, first) = self.bucket(hash);
        let value = hash.value(entry);
        let mut same_page = None;
        if bucket.mentions(hash) {
            match bucket.dead_of_page(first, value, &is_live) {
                Noted::Already => return,
                Noted::Dead(place) => same_page = Some(place),
                Noted::No => {}
            }
        }
        let places = || (0..WAYS).map(|way| first ^ way);
        // Relaxed: nothing is behind it.
        let is_free = |place: &usize| bucket.0[*place].load(Ordering::Relaxed) == 0;
        let chosen = same_page
            .or_else(|| places().find(is_free))
            .unwrap_or_else(|| {
                // Acquire: as in `dead_of_page`.
                let dead = |place: &usize| {
                    let now = bucket.0[*place].load(Ordering::Acquire);
                    entry_of(now) == 0 || !is_live(entry_of(now))
                };
                places().find(dead).unwrap_or(first)
            });
        // Release: pairs with the Acquires above, and in `first`, `find` and
        // `dead_of_page`. A racing note may be lost: it is a hint.
        bucket.0[chosen].store(value, Ordering::Release);
    }

    /// Takes out what was noted of `entry` for the page of `address`, so that
    /// the place is seen to be free. To be called before the entry's slot is
    /// given to another: a later note of the same words is not to go.
    #[inline]
    pub fn forget(&self, address: usize, entry: u32) {
        let hash = Hash::of(address);
        let value = hash.value(entry);
        let places = &self.bucket(hash).0.0;
        // Relaxed, and not in one step: a note that another thread makes in
        // between may be lost, as any may.
        if let Some(place) = places.iter().find(|p| p.load(Ordering::Relaxed) == value) {
            place.store(0, Ordering::Relaxed);
        }
    }

    /// Has the line brought near in which the page of `address` is noted.
    #[inline]
    pub fn prefetch(&self, address: usize) {
        prefetch(self.bucket(Hash::of(address)).0);
    }

    /// Makes the index large enough for `entries`, if there is memory for it;
    /// maps memory, so not to be called under a lock. Notes made so far are
    /// forgotten: a place holds its page's tag only, which does not tell where
    /// it belongs in another table.
    #[inline(always)]
    pub fn reserve(&self, entries: usize) {
        // Half full at most: of buckets of eight one in fifty is then too
        // small.
        if entries * 2 > self.buckets() * WAYS {
            self.grow(entries);
        }
    }

    #[cold]
    fn grow(&self, entries: usize) {
        let mut tables = self.tables.lock();
        let wanted = (entries * 2).div_ceil(WAYS).next_power_of_two();
        if wanted <= self.buckets() || tables.try_reserve(1).is_err() {
            return;
        }
        let Ok(larger) = buckets(wanted) else {
            return;
        };
        self.lead_to(&larger);
        if let Some(former) = tables.last() {
            former.discard();
        }
        tables.push(larger);
    }
}

#[cfg(test)]
mod tests;
