// SPDX-License-Identifier: MIT OR Apache-2.0
//! One entry: the line that a hit touches.

use super::super::refs::Refs;
use super::super::request::Request;
use super::stamp::FILED;
use crate::monitor::{MAX_REGIONS, Region, RegionName, Settled};
use crate::prefetch::prefetch;
use crate::range::Range;
use crate::reservation::Zeroed;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Beside the reference word: the monitor's slot, in so many bits, and above it
/// the binary logarithm of what the served range is widened to when it is
/// registered; 0: it is not.
const SLOT_BITS: u32 = 26;
/// The highest of them says that the entry has bytes of the caller's.
const HAS_DATA: u32 = 1 << (SLOT_BITS - 1);
const _: () = assert!(MAX_REGIONS <= HAS_DATA && usize::BITS <= 1 << (32 - SLOT_BITS));

/// One registration, as lookups see it: one cache line.
#[repr(C, align(64))]
pub(crate) struct Entry {
    pub refs: Refs,
    /// What it serves: pages that were asked for (`serving`). The first byte, and
    /// how far the last one is from it.
    start: AtomicUsize,
    reach: AtomicUsize,
    /// The rights that it does not have.
    lacks: AtomicU32,
    generation: AtomicU32,
    /// The state word; null when the registration is not monitored.
    word: AtomicPtr<AtomicU32>,
    handle: AtomicUsize,
    /// When it was last got, and by whom: see [`Stamp`].
    pub stamp: AtomicU64,
}
const _: () = assert!(size_of::<Entry>() == 64);

// SAFETY: zero is a free entry, and it owns nothing that needs dropping.
unsafe impl Zeroed for Entry {}

impl Entry {
    /// Sets what will be registered, which is what is served or that widened to
    /// its alignment, for a registration that is to be made. The entry is free, or retired
    /// and the caller's: nobody else writes, and readers that come too late
    /// look at the reference word before they believe what they read.
    pub fn set_ranges(&self, request: &Request, has_data: bool) {
        // Relaxed, here and below: published by `Refs::publish`.
        self.start.store(request.served.start(), Ordering::Relaxed);
        let reach = request.served.len() - 1;
        self.reach.store(reach, Ordering::Relaxed);
        let shift = match request.range == request.served {
            true => 0,
            false => u32::from(request.terms.shift),
        };
        let beside = shift << SLOT_BITS | if has_data { HAS_DATA } else { 0 };
        self.refs.beside.store(beside, Ordering::Relaxed);
    }

    /// Sets the rest, after `set_ranges`.
    #[inline]
    pub fn set_registration(&self, access: u32, handle: usize, region: Option<Region>) {
        self.lacks.store(!access, Ordering::Relaxed);
        self.handle.store(handle, Ordering::Relaxed);
        let (word, generation, slot) = match region {
            Some(region) => (
                std::ptr::from_ref(region.word()).cast_mut(),
                region.generation(),
                region.slot(),
            ),
            None => (std::ptr::null_mut(), 0, 0),
        };
        self.word.store(word, Ordering::Relaxed);
        self.generation.store(generation, Ordering::Relaxed);
        let beside = self.refs.beside.load(Ordering::Relaxed);
        let beside = beside & !(HAS_DATA - 1) | slot;
        self.refs.beside.store(beside, Ordering::Relaxed);
    }

    /// Whether the entry covers `range` with at least the rights in `access`.
    /// To be believed while a reference is held, or under the lock.
    #[inline]
    pub fn serves(&self, range: Range, access: u32) -> bool {
        let start = self.start.load(Ordering::Relaxed);
        self.lacks.load(Ordering::Relaxed) & access == 0
            && range.start() >= start
            && range.end() - 1 - start <= self.reach.load(Ordering::Relaxed)
    }

    /// Whether the entry covers these bytes, with at least the rights in `access`,
    /// and its state word says that they are what was registered. They need not be a
    /// range: no entry covers what is none.
    ///
    /// # Safety
    /// The entry is live and holds still: nothing writes its fields but what
    /// the caller's next Release comes before.
    #[inline(always)]
    pub unsafe fn is_hit(
        &self,
        settled: Settled,
        (address, length): (usize, usize),
        access: u32,
    ) -> bool {
        // SAFETY: the caller's promise: the writes come before the Acquire that
        // told that it is live, and no other until it lets go. Plain, so that
        // the compiler may compare with what is in memory.
        let (start, reach, lacks, word, generation) = unsafe {
            (
                &*self.start.as_ptr(),
                &*self.reach.as_ptr(),
                &*self.lacks.as_ptr(),
                &*self.word.as_ptr(),
                &*self.generation.as_ptr(),
            )
        };
        // Of length 0 the last byte is at the highest offset there is, which is
        // beyond every reach. What begins before the entry, or in the kernel's
        // half, has an offset in the upper half; no range reaches that far.
        let room = reach.checked_sub(length.wrapping_sub(1));
        room.is_some_and(|room| address.wrapping_sub(*start) <= room)
            && lacks & access == 0
            // SAFETY: a live entry is monitored; state words are never unmapped.
            && settled.check(unsafe { &**word }, *generation)
    }

    /// The stamp that the entry was filed under, if it was not used since.
    #[inline]
    pub fn filed_stamp(&self) -> Option<u64> {
        let stamp = self.stamp.load(Ordering::Relaxed);
        (stamp & FILED != 0).then_some(stamp & !FILED)
    }

    /// Marks the entry's stamp as the one it is filed under; returns it.
    /// Under the lock.
    pub fn file_stamp(&self) -> u64 {
        // Relaxed: a use that comes later overwrites the mark; one that came
        // before is the stamp that is marked. Nothing else depends on it.
        self.stamp.fetch_or(FILED, Ordering::Relaxed) & !FILED
    }

    /// Gives an entry that is not live a stamp, as the one it is filed under.
    #[inline]
    pub fn set_filed_stamp(&self, stamp: u64) {
        self.stamp.store(stamp | FILED, Ordering::Relaxed);
    }

    /// The first address that it serves.
    pub fn start(&self) -> usize {
        self.start.load(Ordering::Relaxed)
    }

    /// What it serves.
    #[inline]
    pub fn served(&self) -> Range {
        let start = self.start.load(Ordering::Relaxed);
        Range::between(start, start + self.reach.load(Ordering::Relaxed) + 1)
    }

    /// What is registered: what it serves, or more.
    #[inline]
    pub fn range(&self) -> Range {
        self.registered(self.served())
    }

    #[inline]
    fn registered(&self, served: Range) -> Range {
        match self.refs.beside.load(Ordering::Relaxed) >> SLOT_BITS {
            0 => served,
            shift => served.widened(1 << shift),
        }
    }

    /// What is registered, for readers without a reference, who may see a mixture.
    pub fn range_if_any(&self) -> Option<Range> {
        let start = self.start.load(Ordering::Relaxed);
        let length = self.reach.load(Ordering::Relaxed).checked_add(1)?;
        let served = Range::new(start, length).ok()?;
        Some(self.registered(served))
    }

    pub fn access(&self) -> u32 {
        !self.lacks.load(Ordering::Relaxed)
    }

    /// The caller's bytes in it; null where there are none.
    #[inline]
    pub fn data(&self) -> *mut u8 {
        if self.refs.beside.load(Ordering::Relaxed) & HAS_DATA == 0 {
            return std::ptr::null_mut();
        }
        behind(self)
    }

    pub fn handle(&self) -> usize {
        self.handle.load(Ordering::Relaxed)
    }

    /// The state word and the generation it must have.
    #[inline]
    pub fn word(&self) -> Option<(&'static AtomicU32, u32)> {
        let word = self.word.load(Ordering::Relaxed);
        // SAFETY: null, or from a Region: state words are never unmapped.
        let word = unsafe { word.as_ref() }?;
        Some((word, self.generation.load(Ordering::Relaxed)))
    }

    /// What watches it.
    pub fn region(&self) -> Option<Region> {
        let (word, generation) = self.word()?;
        let slot = self.refs.beside.load(Ordering::Relaxed) & (HAS_DATA - 1);
        Some(Region::new(word, generation, slot))
    }

    /// Has the state word brought near.
    #[inline]
    pub fn prefetch_word(&self) {
        prefetch(self.word.load(Ordering::Relaxed));
    }

    /// What the monitor knows the region by.
    pub fn watched(&self) -> Option<RegionName> {
        self.region().map(|region| region.name())
    }

    /// Whether the state word says that the mapping changed. `false` may be
    /// outdated; `true` is final.
    pub fn has_changed(&self) -> bool {
        // Acquire: pairs with the bump.
        self.word()
            .is_none_or(|(word, generation)| word.load(Ordering::Acquire) != generation)
    }
}

/// Bytes before the caller's that stay zero: what begins there would be an entry
/// that is free, and what the caller is told of is where none can begin.
pub(super) const BEFORE_DATA: usize = 16;

/// Where the caller's bytes in an entry are, if it has any.
#[inline]
pub(super) fn behind(entry: &Entry) -> *mut u8 {
    // Not from the reference, which is good for the entry's line alone: of the
    // mapping, whose address was taken when it was made.
    let line = std::ptr::from_ref(entry).addr();
    std::ptr::with_exposed_provenance_mut(line + size_of::<Entry>() + BEFORE_DATA)
}
