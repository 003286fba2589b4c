// SPDX-License-Identifier: GPL-2.0-only

//! What a client wants to hear about a region, in a byte.

use crate::abi::*;

/// Number of `KDREG_CHANGE_` bits.
pub(crate) const CHANGE_BITS: u32 = KDREG_CHANGE_ALL.trailing_ones();
/// Number of possible masks of changes.
pub(crate) const MASKS: usize = 1 << CHANGE_BITS;

/// The changes that invalidate a region, and whether its event tells which of them it was.
///
/// The lower bits are those of the mask of changes, the next one is the flag.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Wanted(u8);

// One bit is left for the flag, and the flags are one bit.
const _: () = assert!(CHANGE_BITS == 7 && KDREG_MONITOR_REASON == 1);

impl Wanted {
    /// From `KDREG_CHANGE_` bits, 0 for the default, and `KDREG_MONITOR_` bits; None when there are
    /// some that do not exist.
    #[inline(always)]
    pub(crate) fn new(changes: u32, flags: u32) -> Option<Self> {
        // The two at once: in an entry of a batch they are neighbours.
        const UNKNOWN: u64 = !(KDREG_CHANGE_ALL as u64 | (KDREG_MONITOR_REASON as u64) << 32);
        if (u64::from(changes) | u64::from(flags) << 32) & UNKNOWN != 0 {
            return None;
        }
        let changes = if changes == 0 {
            KDREG_CHANGE_DEFAULT
        } else {
            changes
        };
        Some(Self((changes | flags << CHANGE_BITS) as u8))
    }

    /// The mask of changes, below [`MASKS`].
    #[inline(always)]
    pub(crate) fn changes(self) -> usize {
        self.0 as usize % MASKS
    }

    /// Whether the reason is to be told.
    pub(crate) fn reason(self) -> bool {
        self.0 as usize >= MASKS
    }
}
