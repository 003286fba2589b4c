// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a table keeps of a region and of a subscriber, in cells that only the
//! holder of its lock looks into.

use super::Outer;
use crate::descriptor::Number;
use crate::interval_tree::Node;
use crate::monitor::Reason;
use crate::reservation::Zeroed;
use std::cell::UnsafeCell;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum State {
    Free = 0,
    Armed,
    Pending,
}

/// One slot. All zero is a free slot that was never used.
///
/// While the node is in no tree, its links serve the slot: Pending, they are
/// the neighbours in the subscriber's queue; Free, `next` is the next free
/// slot; Matching::BySlot, `word` is the region's state word there.
#[repr(C)]
pub(super) struct Record {
    pub(super) node: Node,
    pub(super) cookie: u64,
    pub(super) subscriber: u16,
    pub(super) state: State,
    pub(super) reason: Reason,
    /// Matching::ByAddress: the node's height, in the first. Matching::BySlot:
    /// the generation of the region in whatever does the matching; 0: not known
    /// yet.
    pub(super) extra: [u8; 4],
}
const _: () = assert!(size_of::<Record>() == 48);

impl Record {
    pub(super) fn outer(&mut self) -> Outer {
        Outer {
            generation: u32::from_ne_bytes(self.extra),
            word: *self.node.loose().word,
        }
    }

    pub(super) fn set_outer(&mut self, name: Outer) {
        self.extra = name.generation.to_ne_bytes();
        *self.node.loose().word = name.word;
    }
}

/// A record, reached through the table's lock only.
#[repr(transparent)]
pub(super) struct RecordCell(UnsafeCell<Record>);

// SAFETY: zero is a valid Record (State::Free and Reason::Unknown are 0), and
// it owns nothing.
unsafe impl Zeroed for RecordCell {}
// SAFETY: records are only reached through `Locked`, of which there is one at
// a time.
unsafe impl Sync for RecordCell {}

/// One subscriber's queue of events. All zero is an unused place.
pub(super) struct Queue {
    pub(super) used: bool,
    pub(super) eventfd: Number,
    pub(super) head: u32,
    pub(super) tail: u32,
}

/// A queue, reached through the table's lock only.
#[repr(transparent)]
pub(super) struct QueueCell(UnsafeCell<Queue>);

// SAFETY: zero is a valid Queue, and it owns nothing (the descriptor belongs
// to the subscriber).
unsafe impl Zeroed for QueueCell {}
// SAFETY: as for RecordCell.
unsafe impl Sync for QueueCell {}
