// SPDX-License-Identifier: GPL-2.0-only

//! Which classes of changes there are regions of: what a change looks at.

use crate::change_mask::{CLASSES, DISCERNING};

/// Classes that have regions.
///
/// # Invariants
///
/// `looks` is one more than there are bits set in `bits`.
pub(crate) struct ClassSet {
    bits: [u64; CLASSES / 64],
    looks: u32,
}

impl ClassSet {
    pub(crate) const NONE: Self = Self {
        bits: [0; CLASSES / 64],
        looks: 1,
    };

    /// The first region of a class was added.
    #[inline(always)]
    pub(crate) fn add(&mut self, class: usize) {
        self.bits[class / 64] |= 1 << (class % 64);
        self.looks = self.looks.wrapping_add(1);
    }

    /// The last region of a class has gone.
    #[inline(always)]
    pub(crate) fn remove(&mut self, class: usize) {
        self.bits[class / 64] &= !(1 << (class % 64));
        self.looks = self.looks.wrapping_sub(1);
    }

    /// The classes from `64 * word` on, a bit for each.
    #[inline(always)]
    pub(crate) fn word(&self, word: usize) -> u64 {
        self.bits[word]
    }

    /// How many things a change looks at before it knows that there is nothing to mark: the
    /// descriptor, and a tree for each class. Kept, as it is asked for in every change and counting
    /// bits takes long where the processor is not known to do it.
    #[inline(always)]
    pub(crate) fn looks(&self) -> u32 {
        self.looks
    }

    /// Whether there may be regions for which not every change of protection counts.
    pub(crate) fn are_discerning(&self) -> bool {
        self.bits[DISCERNING / 64..] != [0; (CLASSES - DISCERNING) / 64]
    }
}
