// SPDX-License-Identifier: GPL-2.0-only

//! Regions that end by a change to what they map.

use super::Regions;
use crate::{
    change_mask::{Change, CLASSES},
    invalidation::Changing,
    slots::{Slot, Use},
};
use kernel::container_of;

impl Regions {
    /// Whether no region is monitored.
    #[inline(always)]
    pub(crate) fn is_idle(&self) -> bool {
        self.statistics.active == 0
    }

    /// Marks up to `limit` of the regions that overlap the range, and that the change concerns, as
    /// changed. Returns how many it marked; fewer than `limit` means that none is left.
    pub(crate) fn mark(&mut self, changing: &Changing, limit: u32) -> u32 {
        let marked = self.mark_up_to(changing, limit);
        if marked > 0 {
            self.publish();
        }
        marked
    }

    /// Does it; the caller publishes the counters.
    #[inline(always)]
    fn mark_up_to(&mut self, changing: &Changing, limit: u32) -> u32 {
        let &Changing {
            start,
            last,
            change,
        } = changing;
        let mut marked = 0;
        for word in 0..CLASSES / 64 {
            // Nothing is added meanwhile; what is taken out is not found.
            let mut rest = self.occupied.word(word);
            // Most words are empty, and nothing is worked out for those.
            if rest == 0 {
                continue;
            }
            while rest != 0 {
                let class = word * 64 + rest.trailing_zeros() as usize;
                rest &= rest - 1;
                if !change.concerns(class) {
                    continue;
                }
                while let Some(node) = self.trees[class].first_overlap(start, last) {
                    if marked == limit {
                        return marked;
                    }
                    // SAFETY: By the type invariants every node in `trees` is the `range` of a slot,
                    // which stays where it is while we are in here.
                    let index = unsafe { (*container_of!(node.as_ptr(), Slot, range)).index.get() };
                    self.changed(index, change);
                    marked += 1;
                }
            }
        }
        marked
    }

    /// A monitored region changed: first the word, then the event.
    #[inline(never)]
    fn changed(&mut self, index: u32, change: Change) {
        self.unlink(index);
        let Some((slot, word)) = self.slots.get_with_word(index) else {
            return;
        };
        slot.set_usage(Use::Event);
        // The word loses its lowest bit, so it matches no parameters.
        word.set(slot.generation.get() << 1);
        slot.mask.set(slot.mask.get().answer(change));
        // INVARIANT: The slot goes to the end of the list of events.
        self.events.append(&self.slots, slot);
        let s = &mut self.statistics;
        s.pending += 1;
        s.total += 1;
        if let Some(count) = s.by_change.get_mut(usize::from(change.bit)) {
            *count += 1;
        }
    }
}
