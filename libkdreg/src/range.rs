// SPDX-License-Identifier: MIT OR Apache-2.0
//! Address ranges: half-open, non-empty, inside user space.

use crate::errno::Errno;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A non-empty range of user addresses, `[start, end)`, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Range {
    start: usize,
    end: usize,
}

/// The first address no user mapping can have.
///
/// Linux keeps the upper half of the address space for itself on every 64-bit
/// architecture; how much of the lower half a process can map differs
/// (47, 48, 52 or 56 bits), and what lies above that is simply never mapped.
pub(crate) const USER_END: usize = 1 << (usize::BITS - 1);

impl Range {
    /// The `length` bytes from `address` on.
    ///
    /// # Errors
    /// `EINVAL` for length 0, for a range that wraps around, and for one that
    /// reaches into kernel addresses.
    pub fn new(address: usize, length: usize) -> Result<Range, Errno> {
        // Of length 0, too: one less is the highest number.
        let too_long = length.wrapping_sub(1) >= USER_END;
        if too_long || address > USER_END - length {
            return Err(Errno::EINVAL);
        }
        Ok(Range {
            start: address,
            end: address + length,
        })
    }

    /// A range from its bounds; the caller has made sure that it is not empty.
    pub(crate) fn between(start: usize, end: usize) -> Range {
        debug_assert!(start < end && end <= USER_END);
        Range { start, end }
    }

    /// The first address.
    pub fn start(self) -> usize {
        self.start
    }

    /// The address after the last.
    pub fn end(self) -> usize {
        self.end
    }

    /// Length in bytes, never 0.
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(self) -> usize {
        self.end - self.start
    }

    /// Whether all of `other` lies inside.
    pub fn contains(self, other: Range) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Whether the two share an address.
    pub fn overlaps(self, other: Range) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Whether one begins where the other ends.
    pub fn touches(self, other: Range) -> bool {
        self.end == other.start || other.end == self.start
    }

    /// The smallest range that holds both.
    pub fn hull(self, other: Range) -> Range {
        Range {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }

    /// The range widened to multiples of `alignment`, a power of two. Clipped
    /// at the end of the user address space.
    pub fn widened(self, alignment: usize) -> Range {
        debug_assert!(alignment.is_power_of_two());
        let start = self.start & !(alignment - 1);
        let end = self
            .end
            .checked_add(alignment - 1)
            .map_or(USER_END, |e| (e & !(alignment - 1)).min(USER_END));
        Range { start, end }
    }

    /// What of it begins at `address` or above.
    pub(crate) fn after(self, address: usize) -> Option<Range> {
        let start = self.start.max(address);
        (start < self.end).then_some(Range { start, ..self })
    }

    /// What the two have in common.
    pub fn intersection(self, other: Range) -> Option<Range> {
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);
        (start < end).then_some(Range { start, end })
    }
}

impl fmt::Debug for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:#x}, {:#x})", self.start, self.end)
    }
}

/// The system's page size in bytes.
pub fn page_size() -> usize {
    // Not a OnceLock: a child forked while it is being filled would wait for
    // a thread it does not have.
    static SIZE: AtomicUsize = AtomicUsize::new(0);
    match SIZE.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: sysconf reads a constant; it has no preconditions.
            let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
            let size = usize::try_from(size).expect("the kernel reports a page size");
            SIZE.store(size, Ordering::Relaxed);
            size
        }
        size => size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_ranges_are_refused() {
        assert_eq!(Range::new(0x1000, 0), Err(Errno::EINVAL));
        assert_eq!(Range::new(usize::MAX, 2), Err(Errno::EINVAL));
        assert_eq!(Range::new(usize::MAX - 4096, 64), Err(Errno::EINVAL));
        assert!(Range::new(0x1000, 1).is_ok());
    }

    #[test]
    fn widening_covers_and_clips() {
        let r = Range::new(0x1fff, 2).unwrap().widened(0x1000);
        assert_eq!((r.start(), r.end()), (0x1000, 0x3000));
        let top = Range::new(USER_END - 5, 5).unwrap().widened(1 << 40);
        assert_eq!(top.end(), USER_END);
    }
}
