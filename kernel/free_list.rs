// SPDX-License-Identifier: GPL-2.0-only

//! Slots to be had: the free list, and what has never been on it.

use crate::slots::{Slot, Slots, Word, CHUNK_SLOTS, GENERATION_MAX, NIL};

/// The slots that are not in use.
///
/// # Invariants
///
/// `free` is [`NIL`] or the index of a slot that has memory.
pub(crate) struct FreeList {
    /// First slot of the free list.
    pub(crate) free: u32,
    /// Slots from here on are free and on no list.
    pub(crate) grown: u32,
    /// Slots that can never be used again.
    pub(crate) retired: u32,
}

impl FreeList {
    pub(crate) const ALL: Self = Self {
        free: NIL,
        grown: 0,
        retired: 0,
    };

    /// Takes a slot, of `max` that there are; `Err(Some(n))` when chunk `n` is missing, `Err(None)`
    /// when all are in use. The slot is still free afterwards, but on no list.
    #[inline(always)]
    pub(crate) fn take<'a>(
        &mut self,
        slots: &'a Slots,
        max: u32,
    ) -> Result<(&'a Slot, Word<'a>), Option<usize>> {
        if self.free == NIL {
            self.refill(slots, max)?;
        }
        // SAFETY: By the type invariants `free` is the index of a slot with memory: it is not
        // `NIL`.
        let (slot, word) = unsafe { slots.present(self.free) };
        self.free = slot.link.get();
        Ok((slot, word))
    }

    /// Puts slots on the free list, which is empty: those from `grown` on that are in one chunk.
    /// Fails as [`FreeList::take`] does.
    #[cold]
    #[inline(never)]
    fn refill(&mut self, slots: &Slots, max: u32) -> Result<(), Option<usize>> {
        while self.grown < max {
            let number = self.grown as usize / CHUNK_SLOTS;
            if slots.get(self.grown).is_none() {
                return Err(Some(number));
            }
            let end = max.min(((number + 1) * CHUNK_SLOTS) as u32);
            // From behind, so that they come in their order, which is what their words say.
            for index in (self.grown..end).rev() {
                let Some(slot) = slots.get(index) else {
                    continue;
                };
                // INVARIANT: The slot has memory. It goes to the free list, or is retired.
                if slot.generation.get() < GENERATION_MAX {
                    slot.link.set(self.free);
                    self.free = index;
                } else {
                    self.retired += 1;
                }
            }
            self.grown = end;
            if self.free != NIL {
                return Ok(());
            }
        }
        Err(None)
    }
}
