// SPDX-License-Identifier: MIT OR Apache-2.0
//! When an entry was used.

use crate::thread_registry::OWN_NUMBERS;

/// A time on a thread's clock, and the thread's number in the low seven bits.
/// In the order of the clock, for the uses of one thread. The bit between says,
/// of the stamp of an entry, that it is the one the entry is filed under
/// (`lru`): a use overwrites it.
pub(crate) struct Stamp;

pub(super) const FILED: u64 = 1 << 7;
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
