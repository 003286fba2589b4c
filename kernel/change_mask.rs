// SPDX-License-Identifier: GPL-2.0-only

//! What a client wants to hear about a region, and what of it a change is.

use crate::abi::*;

/// Number of `KDREG_CHANGE_` bits.
pub(crate) const CHANGE_BITS: u32 = KDREG_CHANGE_ALL.trailing_ones();

/// Number of classes, see [`ChangeMask::class`].
pub(crate) const CLASSES: usize = 1 << CLASS_BITS;
const CLASS_BITS: u32 = OTHERS_BITS + 2;
/// The changes besides those of protection.
const OTHERS_BITS: u32 = CHANGE_BITS - 1;

/// Which changes of protection count for a region.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Protection {
    /// None.
    Ignored = 0,
    /// Each.
    Any = 1,
    /// Those that leave less than reading.
    Reading = 2,
    /// Those that leave less than reading and writing.
    Writing = 3,
}

/// Classes from here on are of regions for which not every change of protection counts.
pub(crate) const DISCERNING: usize = (Protection::Reading as usize) << OTHERS_BITS;

/// The changes that invalidate a region, and whether its event tells which of them it was. Once it
/// is invalid, the answer to that.
///
/// The lower bits are the class, the next one is the flag.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct ChangeMask(u16);

/// Every `KDREG_MONITOR_` bit.
const FLAGS: u32 = KDREG_MONITOR_REASON | KDREG_MONITOR_NEEDS_READ | KDREG_MONITOR_NEEDS_WRITE;

// What `put_together` puts together; and flags are small numbers.
const _: () = assert!(
    CHANGE_BITS == 7
        && KDREG_CHANGE_PROTECTION == 1 << 2
        && KDREG_MONITOR_REASON == 1
        && KDREG_MONITOR_NEEDS_READ == 2
        && KDREG_MONITOR_NEEDS_WRITE == 4
);

/// The `KDREG_CHANGE_` bits without that of protection, close together.
const fn others(changes: u32) -> u32 {
    (changes & 0b11) | ((changes >> 1) & 0b11_1100)
}

impl ChangeMask {
    /// From `KDREG_CHANGE_` bits, 0 for the default, and `KDREG_MONITOR_` bits; None when there are
    /// some that do not exist.
    #[inline(always)]
    pub(crate) fn new(changes: u32, flags: u32) -> Option<Self> {
        /// What most ask for, by their flags.
        const BY_DEFAULT: [ChangeMask; FLAGS as usize + 1] = {
            let mut all = [ChangeMask(0); FLAGS as usize + 1];
            let mut flags = 0;
            while flags <= FLAGS {
                all[flags as usize] = ChangeMask::put_together(KDREG_CHANGE_DEFAULT, flags);
                flags += 1;
            }
            all
        };
        if changes == 0 {
            return BY_DEFAULT.get(flags as usize).copied();
        }
        if changes & !KDREG_CHANGE_ALL != 0 || flags & !FLAGS != 0 {
            return None;
        }
        Some(Self::put_together(changes, flags))
    }

    /// From bits that exist, and not none.
    const fn put_together(changes: u32, flags: u32) -> Self {
        let protection = if changes & KDREG_CHANGE_PROTECTION == 0 {
            Protection::Ignored
        } else if flags & KDREG_MONITOR_NEEDS_WRITE != 0 {
            // Nothing can be written that cannot be read.
            Protection::Writing
        } else if flags & KDREG_MONITOR_NEEDS_READ != 0 {
            Protection::Reading
        } else {
            Protection::Any
        };
        let class = others(changes) | (protection as u32) << OTHERS_BITS;
        Self((class | (flags & KDREG_MONITOR_REASON) << CLASS_BITS) as u16)
    }

    /// Which changes count, as a number below [`CLASSES`].
    #[inline(always)]
    pub(crate) fn class(self) -> usize {
        usize::from(self.0) % CLASSES
    }

    /// What takes its place when a change has invalidated the region: its reason, if asked for.
    pub(crate) fn answer(self, change: Change) -> Self {
        if usize::from(self.0) >= CLASSES {
            Self(1 << change.bit)
        } else {
            Self(0)
        }
    }

    /// The `KDREG_CHANGE_` bit in an answer; 0 when it was not asked for.
    pub(crate) fn reason(self) -> u32 {
        self.0.into()
    }
}

/// Rights that a mapping still has in the whole range of a change of its protection.
#[derive(Clone, Copy)]
pub(crate) struct Rights {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Rights {
    /// None, or who knows.
    pub(crate) const NONE: Self = Self {
        read: false,
        write: false,
    };
}

/// A change, as it concerns regions.
#[derive(Clone, Copy)]
pub(crate) struct Change {
    /// For the reason and the statistics: the number of one `KDREG_CHANGE_` bit, the lowest of a
    /// change that counts as several.
    pub(crate) bit: u8,
    /// Changes besides those of protection, as in a class.
    others: u8,
    /// A bit for each [`Protection`] for which it counts.
    protection: u8,
}

impl Change {
    /// From `KDREG_CHANGE_` bits, not none.
    pub(crate) fn new(changes: u32) -> Self {
        Self {
            bit: changes.trailing_zeros() as u8,
            others: others(changes) as u8,
            protection: if changes & KDREG_CHANGE_PROTECTION != 0 {
                1 << Protection::Any as u8
                    | 1 << Protection::Reading as u8
                    | 1 << Protection::Writing as u8
            } else {
                0
            },
        }
    }

    /// Whether it is one of protection, perhaps besides others.
    #[inline(always)]
    pub(crate) fn is_of_protection(self) -> bool {
        self.protection != 0
    }

    /// The same change of protection for regions that need no more than `rights`.
    pub(crate) fn leaves(mut self, rights: Rights) -> Self {
        if rights.read {
            self.protection &= !(1 << Protection::Reading as u8);
            if rights.write {
                self.protection &= !(1 << Protection::Writing as u8);
            }
        }
        self
    }

    /// Whether it counts for regions of a class.
    #[inline(always)]
    pub(crate) fn concerns(self, class: usize) -> bool {
        class & usize::from(self.others) != 0 || self.protection >> (class >> OTHERS_BITS) & 1 != 0
    }
}
