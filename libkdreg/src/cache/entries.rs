// SPDX-License-Identifier: MIT OR Apache-2.0
//! The entries of a cache, in two parallel arrays that never move.
//!
//! [`Entry`] is the line that a hit touches: atomics, readable by anybody at
//! any time. Its fields change only while the entry is not live, so whoever
//! holds a reference reads stable values. Beside it are its links (`links`),
//! which only the holder of the cache's lock touches.

use super::extras::Extra;
use super::links::{EntryLinks, LinksMemory};
use super::refs::Refs;
use super::serving::Request;
use crate::errno::Errno;
use crate::monitor::{MAX_REGIONS, Region, RegionName, Settled};
use crate::prefetch::prefetch;
use crate::range::Range;
use crate::reservation::{OnFork, Reservation, Zeroed};
use crate::threads::OWN_NUMBERS;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

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

/// A time on a thread's clock, and the thread's number in the low seven bits.
/// In the order of the clock, for the uses of one thread. The bit between says,
/// of the stamp of an entry, that it is the one the entry is filed under
/// (`lru`): a use overwrites it.
pub(crate) struct Stamp;

/// Beside the reference word: the monitor's slot, in so many bits, and above it
/// the binary logarithm of what the served range is widened to when it is
/// registered; 0: it is not.
const SLOT_BITS: u32 = 26;
/// The highest of them says that the entry has bytes of the caller's.
const HAS_DATA: u32 = 1 << (SLOT_BITS - 1);
const _: () = assert!(MAX_REGIONS <= HAS_DATA && usize::BITS <= 1 << (32 - SLOT_BITS));

const FILED: u64 = 1 << 7;
const _: () = assert!((OWN_NUMBERS as u64) < FILED);

impl Stamp {
    #[cfg(test)]
    pub fn at(clock: u64, number: usize) -> u64 {
        clock << 8 | number as u64
    }

    /// From one reading of a clock to the next.
    pub const TICK: u64 = 1 << 8;

    /// What no stamp of the same reading is above.
    #[inline]
    pub fn end_of(stamp: u64) -> u64 {
        stamp | (Stamp::TICK - 1)
    }

    /// A thread's stamp of the reading after that which `end` is the end of.
    #[inline]
    pub fn after(end: u64, number: usize) -> u64 {
        end + 1 + number as u64
    }

    /// The one before that.
    #[inline]
    pub fn before(end: u64, number: usize) -> u64 {
        Stamp::after(end, number) - Stamp::TICK
    }

    /// The clock's reading, for people.
    pub fn clock(stamp: u64) -> u64 {
        stamp >> 8
    }

    #[inline]
    pub fn number(stamp: u64) -> usize {
        (stamp & (FILED - 1)) as usize
    }
}

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

    /// Has the state word brought near.
    #[inline]
    pub fn prefetch_word(&self) {
        prefetch(self.word.load(Ordering::Relaxed));
    }

    /// What the monitor knows the region by.
    pub fn watched(&self) -> Option<RegionName> {
        self.word().map(|(word, generation)| RegionName {
            slot: self.refs.beside.load(Ordering::Relaxed) & (HAS_DATA - 1),
            generation,
            word: word.as_ptr() as usize,
        })
    }

    /// Whether the state word says that the mapping changed. `false` may be
    /// outdated; `true` is final.
    pub fn has_changed(&self) -> bool {
        // Acquire: pairs with the bump.
        self.word()
            .is_none_or(|(word, generation)| word.load(Ordering::Acquire) != generation)
    }
}

/// How far entries are apart that have so many bytes of the caller's behind
/// them, in entries: a power of two.
pub(super) const fn stride(data: usize) -> usize {
    if data == 0 {
        return 1;
    }
    (1 + (BEFORE_DATA + data).div_ceil(size_of::<Entry>())).next_power_of_two()
}

/// Bytes before the caller's that stay zero: what begins there would be an entry
/// that is free, and what the caller is told of is where none can begin.
const BEFORE_DATA: usize = 16;

/// Where the caller's bytes in an entry are, if it has any.
#[inline]
fn behind(entry: &Entry) -> *mut u8 {
    let behind = std::ptr::from_ref(entry).wrapping_add(1).cast_mut();
    behind.wrapping_byte_add(BEFORE_DATA).cast()
}

/// The memory of a cache's entries. What of a caller's is in an entry lies
/// behind it, on lines of its own. Indices are the entries': how far apart those
/// are matters where an index becomes an address, and back.
pub(crate) struct Entries {
    /// Bytes from one entry to the next: a power of two.
    apart: usize,
    /// The binary logarithm of that.
    shift: u32,
    /// Bytes of the caller's in an entry.
    data: usize,
    /// How many entries are usable. Stored with Release when all of what there is
    /// for them became so, loaded with Acquire before any of it is touched.
    committed: AtomicUsize,
    /// A [`stride`] of them for each entry.
    lines: Reservation<Entry>,
    extras: Reservation<Extra>,
    links: LinksMemory,
}

impl Entries {
    /// Room for `capacity` entries, and the one access to their links, for
    /// the owner to keep under its lock.
    #[cfg(test)]
    pub fn new(capacity: usize) -> Result<(Entries, EntryLinks), Errno> {
        Entries::with_data(capacity, 0)
    }

    /// As `new`, with so many bytes of the caller's in each.
    pub fn with_data(count: usize, data: usize) -> Result<(Entries, EntryLinks), Errno> {
        let stride = stride(data);
        let lines = count.checked_mul(stride).ok_or(Errno::EINVAL)?;
        let apart = stride * size_of::<Entry>();
        let (memory, links) = LinksMemory::new(count)?;
        let entries = Entries {
            apart,
            shift: apart.trailing_zeros(),
            data,
            committed: AtomicUsize::new(0),
            lines: Reservation::new(lines, OnFork::Copy)?,
            extras: Reservation::new(count, OnFork::Copy)?,
            links: memory,
        };
        Ok((entries, links))
    }

    /// How many entries there can be.
    pub fn capacity(&self) -> u32 {
        self.extras.capacity() as u32
    }

    /// The caller's bytes in an entry; null where there are none.
    #[inline]
    pub fn data(&self, index: u32) -> *mut u8 {
        if self.data == 0 {
            return std::ptr::null_mut();
        }
        // SAFETY: an index that was given out is committed, with all lines of the
        // entry, of which there is more than one then.
        let entry = unsafe { self.at_unchecked(index) };
        behind(entry)
    }

    /// Zeroes them, for a registration that is about to be made.
    #[inline]
    pub fn clear_data(&self, index: u32) {
        let data = self.data(index);
        if !data.is_null() {
            // SAFETY: so many bytes are there, and are the caller's, which has
            // them in no callback and holds no entry there now: the slot is free.
            unsafe { data.write_bytes(0, self.data) };
        }
    }

    /// Makes entries below `count` usable. Not to be called under the lock.
    pub fn commit(&self, count: u32) -> Result<(), Errno> {
        let count = count as usize;
        let stride = self.apart / size_of::<Entry>();
        self.links.commit(count)?;
        self.extras.commit(count)?;
        self.lines.commit(count * stride)?;
        // Perhaps a few more, of those all of each.
        let committed = (self.links.committed())
            .min(self.extras.committed())
            .min(self.lines.committed() / stride);
        // Release: pairs with the Acquire in `committed`. `fetch_max`, since a
        // racing call may have committed more.
        self.committed.fetch_max(committed, Ordering::Release);
        Ok(())
    }

    /// How many entries are usable.
    #[inline(always)]
    pub fn committed(&self) -> u32 {
        self.committed.load(Ordering::Acquire) as u32
    }

    /// # Panics
    /// When it is not committed.
    #[inline]
    pub fn at(&self, index: u32) -> &Entry {
        assert!(index < self.committed(), "entry {index} is not committed");
        // SAFETY: just checked.
        unsafe { self.at_unchecked(index) }
    }

    /// What the entry at an index has besides its line.
    pub fn extra(&self, index: u32) -> &Extra {
        self.extras.at(index)
    }

    /// The entry at an index.
    ///
    /// # Safety
    /// `index` was given out by this cache, and so is committed.
    #[inline]
    pub unsafe fn at_unchecked(&self, index: u32) -> &Entry {
        // SAFETY: the caller's promise.
        unsafe { self.at_offset(index as usize * self.apart) }
    }

    /// The entry at an offset that came from the page index.
    ///
    /// # Safety
    /// It is `offset_of` an entry of this cache, or 0.
    #[inline(always)]
    pub unsafe fn at_offset(&self, offset: usize) -> &Entry {
        // SAFETY: the caller's promise: such an entry is committed.
        unsafe { self.lines.at_offset_unchecked(offset) }
    }

    /// How far one of this cache's entries is from the first.
    #[inline(always)]
    pub fn offset_of(&self, entry: &Entry) -> u32 {
        self.lines.offset_of(entry) as u32
    }

    /// Has an entry brought near. One that was given out.
    #[inline]
    pub fn prefetch(&self, index: u32) {
        // SAFETY: such entries are committed.
        prefetch(unsafe { self.at_unchecked(index) });
    }

    /// The entry that this address is exactly, if it is one, and not one of the
    /// caller's bytes behind it, which may look like anything.
    #[inline(always)]
    pub fn find(&self, entry: *const Entry) -> Option<&Entry> {
        self.position(entry)?;
        // SAFETY: as in `at`; it is one of ours, and so not null.
        unsafe {
            std::hint::assert_unchecked(!entry.is_null());
            Some(&*entry)
        }
    }

    /// Which entry this address is exactly.
    #[inline(always)]
    fn position(&self, entry: *const Entry) -> Option<u32> {
        // What is between two entries, or before the first, has bits that come
        // out on top: one comparison tells all.
        let index = self.lines.offset_of(entry).rotate_right(self.shift);
        (index < self.committed.load(Ordering::Acquire)).then_some(index as u32)
    }

    /// The index of one of this cache's entries.
    pub fn index_of(&self, entry: &Entry) -> u32 {
        self.position(entry).expect("an entry of this cache")
    }
}
