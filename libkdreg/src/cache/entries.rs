// SPDX-License-Identifier: MIT OR Apache-2.0
//! The entries of a cache, in two parallel arrays that never move.
//!
//! [`Entry`] is the line that a hit touches: atomics, readable by anybody at
//! any time. Its fields change only while the entry is not live, so whoever
//! holds a reference reads stable values. Beside it are its links (`links`),
//! which only the holder of the cache's lock touches.

mod line;
mod stamp;

use super::extras::Extra;
use super::links::{EntryLinks, LinksMemory, MAX_ENTRIES};
use super::page_index::MAX_OFFSET;
use crate::errno::Errno;
use crate::prefetch::prefetch;
use crate::reservation::{OnFork, Reservation};
use line::{BEFORE_DATA, behind};
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) use line::Entry;
pub(crate) use stamp::Stamp;

// The page index can lead to each.
const _: () = assert!(MAX_ENTRIES * size_of::<Entry>() <= MAX_OFFSET);

/// How far entries are apart that have so many bytes of the caller's behind
/// them, in entries: a power of two.
pub(super) const fn stride(data: usize) -> usize {
    if data == 0 {
        return 1;
    }
    (1 + (BEFORE_DATA + data).div_ceil(size_of::<Entry>())).next_power_of_two()
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
