// SPDX-License-Identifier: GPL-2.0-only

//! What a change of mappings does to the regions of a process: the notifier's way through all
//! descriptors, in steps between which others can have the lock.

use crate::{
    change_mask::{Change, Rights},
    members::Member,
    space::{Changes, Guard, Space, STEP},
};

/// Descriptors and trees looked at before it is. One descriptor has up to 255 trees: 128 are of
/// classes that UNMAP or CLEAR concerns, 192 that a change of protection does, and all that one for an
/// unknown reason does.
const LOOKS: u32 = 512;

/// A range of addresses that changes, ends included, and how.
#[derive(Clone, Copy)]
pub(crate) struct Changing {
    pub(crate) start: u64,
    pub(crate) last: u64,
    pub(crate) change: Change,
}

impl Changes {
    /// A change ends. Returns whether there may be regions that were added since it began; if not,
    /// the marking that was done then was all there is to do.
    ///
    /// Does not depend on the kernel's pairing: an end more than there were beginnings leaves too
    /// few in flight, and once there are none left every further end answers yes.
    fn end(&mut self) -> bool {
        if self.in_flight == 0 {
            return true;
        }
        let added = self.added_in_flight;
        self.in_flight -= 1;
        if self.in_flight == 0 {
            self.added_in_flight = false;
        }
        added
    }
}

impl Space {
    /// A change begins: marks the regions that are there. `rights` says what a change of protection
    /// leaves, and is asked only where that matters. See [`Space::mark`].
    pub(crate) fn begin_change(&self, changing: Changing, rights: impl FnOnce() -> Rights) {
        let mut changes = self.hold();
        changes.in_flight += 1;
        self.mark(changes, changing, rights);
    }

    /// A change has been made: marks the regions that were added while it was, which may have been
    /// registered with pages that are gone now. See [`Space::mark`].
    pub(crate) fn end_change(&self, changing: Changing, rights: impl FnOnce() -> Rights) {
        let mut changes = self.hold();
        if changes.end() {
            self.mark(changes, changing, rights);
        }
    }

    /// Marks every region that overlaps the range and that the change concerns. When this returns,
    /// their words have changed.
    ///
    /// Called by the notifier with memory-management locks held, possibly in reclaim and possibly
    /// where sleeping is not allowed. Does not sleep, and depends on nobody who might.
    #[inline(always)]
    fn mark<'a>(
        &'a self,
        mut changes: Guard<'a>,
        mut changing: Changing,
        rights: impl FnOnce() -> Rights,
    ) {
        let mut rights = Some(rights);
        let mut settled = false;
        let mut seen = 0u32;
        let mut next = changes.watching.first();
        while let Some(member) = next {
            // SAFETY: Members in the list are alive. This one stays there while the lock is held or
            // it is pinned.
            let member = unsafe { member.as_ref() };
            // SAFETY: The lock is held.
            let mut regions = unsafe { member.regions() };
            seen = seen.wrapping_add(regions.occupied.looks());
            if seen > LOOKS {
                (changes, settled) = self.pause(changes, member, settled);
                // SAFETY: The lock is held, again; that reference is the only one.
                regions = unsafe { member.regions() };
                seen = regions.occupied.looks();
            }
            if regions.is_idle() {
                next = changes.watching.next(member);
                if !member.is_pinned() {
                    // SAFETY: The lock is held, and this is its list.
                    unsafe { changes.watching.remove(member) };
                }
                continue;
            }
            if changing.change.is_of_protection() && regions.occupied.are_discerning() {
                // What it says holds for all members, as the mapping does not change meanwhile.
                if let Some(rights) = rights.take() {
                    changing.change = changing.change.leaves(rights());
                }
            }
            let marked = regions.mark(&changing, STEP);
            if marked > 0 {
                (changes, settled) = self.mark_on(changes, member, &changing, marked, settled);
                // It has let go of the lock.
                seen = 0;
            }
            next = changes.watching.next(member);
        }
        drop(changes);
        if settled {
            self.settled.notify_all();
        }
    }

    /// Lets others have the lock for a moment: a process may have any number of descriptors. What
    /// joins the list meanwhile joins it at the front, and concerns a change that is under way at
    /// its end, so this is no reason to begin anew. `settled` as for [`Space::mark_on`].
    #[cold]
    #[inline(never)]
    fn pause<'a>(
        &'a self,
        changes: Guard<'a>,
        member: &Member,
        settled: bool,
    ) -> (Guard<'a>, bool) {
        member.pin();
        drop(changes);
        let changes = self.hold();
        let settled = member.unpin() || settled;
        (changes, settled)
    }

    /// Goes on with a member of which `marked` regions were marked: with the rest of them, and with
    /// those who wait for events. Lets go of the lock meanwhile. `settled`: somebody is to be woken
    /// at the end.
    #[inline(never)]
    fn mark_on<'a>(
        &'a self,
        mut changes: Guard<'a>,
        member: &Member,
        changing: &Changing,
        mut marked: u32,
        mut settled: bool,
    ) -> (Guard<'a>, bool) {
        member.pin();
        if marked == STEP {
            // Many: let others have the lock now and then. What has been marked is out of the trees
            // and nothing is added meanwhile, so this ends.
            changes.marking += 1;
            while marked == STEP {
                drop(changes);
                changes = self.hold();
                // SAFETY: The lock is held, and the member is pinned.
                marked = unsafe { member.regions() }.mark(changing, STEP);
            }
            changes.marking -= 1;
            settled |= changes.marking == 0;
        }
        drop(changes);
        member.events.wake();
        let changes = self.hold();
        settled |= member.unpin();
        (changes, settled)
    }

    /// The owner's address space is being torn down: no task is left in it that could read an
    /// event or look at a word. Gives the memory of all members back. May sleep.
    pub(crate) fn owner_gone(&self) {
        let mut settled = false;
        let mut changes = self.hold();
        let mut next = changes.all.first();
        while let Some(member) = next {
            // SAFETY: Members in the list are alive. This one stays there while the lock is held or
            // it is pinned.
            let member = unsafe { member.as_ref() };
            // SAFETY: The lock is held.
            let chunks = unsafe { member.regions() }.take_chunks();
            member.pin();
            drop(changes);
            drop(chunks);
            member.status.give_back();
            changes = self.hold();
            settled |= member.unpin();
            next = changes.all.next(member);
        }
        drop(changes);
        if settled {
            self.settled.notify_all();
        }
    }
}
