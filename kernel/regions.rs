// SPDX-License-Identifier: GPL-2.0-only

//! The regions of one descriptor: what the spin lock of its address space protects.
//!
//! Nothing here sleeps, allocates, frees or touches user memory, and every call is short: work on
//! many regions is done in steps, between which the caller can let go of the lock.
//!
//! Here is what they are kept in; how they begin and end is in `monitoring` and `changes`, and what
//! is told of it in `events`.

mod changes;
mod events;
mod monitoring;

use crate::{
    answers::Statistics,
    change_mask::CLASSES,
    class_set::ClassSet,
    cookies::Cookies,
    free_list::FreeList,
    slots::{Chunk, Slots, Use, CHUNK_SLOTS, GENERATION_MAX, NIL},
    status::Status,
    tree::IntervalTree,
};
use events::List;
use kernel::{alloc::flags::*, prelude::*, sync::Arc};

/// The regions, their index, and the events about them.
///
/// # Invariants
///
/// - An active slot of class `c` has its range in `trees[c]` and is in `cookies`; no other slot is
///   in a tree or in `cookies`. `c` is one of `occupied` if and only if `trees[c]` is not empty.
/// - A slot with index below `free_list.grown` is active, holds an event, is on the free list, or is
///   retired (its generation is [`GENERATION_MAX`] and it is not used again). Slots from there
///   on are free and on no list.
/// - Slots that hold an event are on `events`, or are in a [`Taken`].
///
/// [`Taken`]: crate::answers::Taken
pub(crate) struct Regions {
    slots: Slots,
    /// Boxed, as a page full of them has no place on the stack, where what is made begins.
    trees: KBox<[IntervalTree; CLASSES]>,
    /// Whoever has the lock may look at it.
    pub(crate) occupied: ClassSet,
    cookies: Cookies,
    events: List,
    free_list: FreeList,
    /// Events in `Taken`s.
    taken: u32,
    statistics: Statistics,
    status: Arc<Status>,
}

impl Regions {
    /// No regions. May sleep.
    pub(crate) fn new(status: Arc<Status>) -> Result<Self> {
        let trees = KBox::new_uninit(GFP_KERNEL_ACCOUNT | __GFP_ZERO)?;
        Ok(Self {
            slots: Slots::new(),
            // SAFETY: All zeroes is an empty tree: two null pointers.
            trees: unsafe { trees.assume_init() },
            occupied: ClassSet::NONE,
            cookies: Cookies::new(),
            events: List::EMPTY,
            free_list: FreeList::ALL,
            taken: 0,
            statistics: Statistics::default(),
            status,
        })
    }

    /// What it has besides its own size, and besides slots and their words.
    pub(crate) const BOXED: usize = size_of::<[IntervalTree; CLASSES]>();

    pub(crate) fn statistics(&self) -> Statistics {
        Statistics {
            retired: self.free_list.retired,
            ..self.statistics
        }
    }

    // --- Configuration ---------------------------------------------------------------------

    /// Takes all slots out of use until [`Regions::resume`]; EBUSY when some are used. Returns how
    /// many there were.
    pub(crate) fn suspend(&mut self) -> Result<u32> {
        let s = &mut self.statistics;
        if s.active != 0 || s.pending != 0 || self.taken != 0 {
            return Err(EBUSY);
        }
        Ok(core::mem::take(&mut s.max))
    }

    /// Goes on with `max` slots as [`Regions::suspend`] left them.
    pub(crate) fn resume(&mut self, max: u32) {
        self.statistics.max = max;
    }

    /// Goes on with `max` slots and an empty free list. Generations go on where they were, so no
    /// old parameters ever match again. `table` has room for `max` slots; what is left in it
    /// is for the caller to free.
    pub(crate) fn reconfigure(&mut self, max: u32, table: &mut Slots) {
        self.slots.enlarge(table);
        self.free_list = FreeList::ALL;
        self.statistics.max = max;
    }

    /// Ends everything: no region, no event, no slot is left. The caller frees the chunks.
    pub(crate) fn take_chunks(&mut self) -> Slots {
        // INVARIANT: There is no slot any more, and the trees start anew: the old ones are
        // forgotten without touching their nodes again.
        for tree in self.trees.iter_mut() {
            *tree = IntervalTree::new();
        }
        self.occupied = ClassSet::NONE;
        self.cookies.clear();
        self.events = List::EMPTY;
        self.free_list = FreeList::ALL;
        self.taken = 0;
        let s = &mut self.statistics;
        s.max = 0;
        s.active = 0;
        s.pending = 0;
        self.status.set_active(0);
        self.status.set_events(0, s.total);
        self.slots.take()
    }

    /// Gives the slots of chunk `number` their memory. A chunk that is not needed is handed back.
    pub(crate) fn install(&mut self, number: usize, chunk: Chunk) -> Option<Chunk> {
        let unused = self.slots.install(number, chunk);
        if unused.is_none() {
            self.cookies
                .grow(&self.slots, ((number + 1) * CHUNK_SLOTS) as u32);
        }
        unused
    }

    // --- Slots -----------------------------------------------------------------------------

    /// Puts a slot, which is in no tree and on no list, back on the free list.
    fn release(&mut self, index: u32) {
        let Some((slot, word)) = self.slots.get_with_word(index) else {
            return;
        };
        slot.set_usage(Use::Free);
        // INVARIANT: The slot goes to the free list, or is retired.
        if slot.generation.get() >= GENERATION_MAX {
            self.free_list.retired += 1;
            word.set(0);
            return;
        }
        slot.link.set(self.free_list.free);
        let next = if self.free_list.free != NIL {
            self.free_list.free
        } else if self.free_list.grown < self.statistics.max {
            self.free_list.grown
        } else {
            GENERATION_MAX
        };
        word.set(next << 1);
        self.free_list.free = index;
    }

    /// Takes an active slot out of the table of cookies and its tree. The caller gives it another
    /// use, and publishes the counters.
    fn unlink(&mut self, index: u32) {
        let Some(slot) = self
            .slots
            .get(index)
            .filter(|slot| slot.usage() == Use::Active)
        else {
            return;
        };
        self.cookies.remove(&self.slots, slot);
        self.untree(index);
    }

    /// The second half of that.
    fn untree(&mut self, index: u32) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        let class = slot.mask.get().class();
        // SAFETY: By the type invariants an active slot is in this tree.
        unsafe { self.trees[class].remove(&slot.range) };
        if self.trees[class].is_empty() {
            self.occupied.remove(class);
        }
        self.statistics.active -= 1;
    }

    /// Shows the counters to the client: before the lock is let go of, once for all that was done
    /// under it. The words that the events are about have been changed before.
    fn publish(&self) {
        let s = &self.statistics;
        self.status.set_active(s.active);
        self.status.set_events(s.pending, s.total);
    }
}
