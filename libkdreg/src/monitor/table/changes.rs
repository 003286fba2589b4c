// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a change does to the regions of a table.

use super::locked::{Locked, View};
use super::record::State;
use super::{BATCH, Table};
use crate::interval_tree::NIL;
use crate::monitor::{Reason, state_words};
use crate::range::Range;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

impl Table {
    /// Marks every region that overlaps `range` as changed, and queues the
    /// events. StateWords first, events second.
    pub fn invalidate(&self, range: Range, reason: Reason) {
        while self.invalidate_some(self.lock(), range, reason, NIL) {}
    }

    /// As `invalidate`, of all but one region.
    pub fn invalidate_others(&self, range: Range, slot: u32, reason: Reason) {
        while self.invalidate_some(self.lock(), range, reason, slot) {}
    }

    /// As `invalidate`, by one who must not wait for the lock. `false`: it was
    /// taken, and not all is marked yet.
    pub fn try_invalidate(&self, range: Range, reason: Reason) -> bool {
        loop {
            let Some(locked) = self.try_lock() else {
                return false;
            };
            if !self.invalidate_some(locked, range, reason, NIL) {
                return true;
            }
        }
    }

    /// As `try_invalidate`, a batch of them at most. Whether there may be more;
    /// `None`: the lock was taken.
    pub fn try_invalidate_some(&self, range: Range, reason: Reason) -> Option<bool> {
        Some(self.invalidate_some(self.try_lock()?, range, reason, NIL))
    }

    /// Marks some of the regions that overlap `range`, but not `except`; whether
    /// there are more.
    fn invalidate_some(
        &self,
        mut locked: Locked<'_>,
        range: Range,
        reason: Reason,
        except: u32,
    ) -> bool {
        let mut found = [const { MaybeUninit::uninit() }; BATCH];
        let mut count = 0;
        let words = self.words;
        let view = View { table: self };
        let more = locked
            .shape
            .tree
            .overlapping(&view, range.start(), range.end(), &mut |slot| {
                if slot == except {
                    return ControlFlow::Continue(());
                }
                if count == BATCH {
                    return ControlFlow::Break(());
                }
                state_words::bump(words.at(slot));
                found[count].write(slot);
                count += 1;
                ControlFlow::Continue(())
            })
            .is_break();
        for slot in &found[..count] {
            // SAFETY: the first `count` were written just now.
            let slot = unsafe { slot.assume_init() };
            locked.unlink(slot);
            locked.enqueue(slot, reason);
        }
        more
    }

    /// Marks everything as changed.
    pub fn invalidate_all(&self, reason: Reason) {
        self.invalidate(Range::between(0, 1 << (usize::BITS - 1)), reason);
    }

    /// Marks one region as changed, if this generation of the slot is armed.
    pub fn invalidate_slot(&self, slot: u32, generation: u32, reason: Reason) {
        let mut locked = self.lock();
        if slot < locked.shape.fresh
            && self.words.at(slot).load(Ordering::Relaxed) == generation
            && locked.record(slot).state == State::Armed
        {
            state_words::bump(self.words.at(slot));
            locked.unlink(slot);
            locked.enqueue(slot, reason);
        }
    }
}
