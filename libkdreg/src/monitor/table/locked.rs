// SPDX-License-Identifier: MIT OR Apache-2.0
//! A table's records, queues and tree, for the holder of its lock.

use super::record::{Queue, Record, State};
use super::{Matching, Shape, Table};
use crate::interval_tree::{NIL, Node, Nodes};
use crate::lock::MutexGuard;
use crate::monitor::{Reason, eventfd};
use crate::range::Range;
use std::sync::atomic::Ordering;

/// Shared access to the records, for tree queries; made by the lock holder.
pub(super) struct View<'a> {
    pub(super) table: &'a Table,
}

impl Nodes for View<'_> {
    fn node(&self, index: u32) -> &Node {
        // SAFETY: a View lives only while its maker holds the lock and makes
        // no exclusive reference; nodes of the tree are committed.
        unsafe { &(*self.table.records.pointer_unchecked(index).cast::<Record>()).node }
    }
    fn node_mut(&mut self, _: u32) -> &mut Node {
        unreachable!("queries change nothing")
    }
    fn height(&self, _: u32) -> u8 {
        unreachable!("queries look at no heights")
    }
    fn set_height(&mut self, _: u32, _: u8) {
        unreachable!("queries change nothing")
    }
}

/// The records, for the holder of the lock.
pub(super) struct Records<'a> {
    pub(super) table: &'a Table,
}

impl Records<'_> {
    pub(super) fn at(&self, slot: u32) -> *mut Record {
        // SAFETY: asked for nodes of the tree, and the one to be inserted: slots
        // in use are committed.
        unsafe { self.table.records.pointer_unchecked(slot).cast() }
    }
}

impl Nodes for Records<'_> {
    fn node(&self, index: u32) -> &Node {
        // SAFETY: made by `Locked` under the lock; `&self` and `&mut self`
        // keep shared and exclusive borrows apart.
        unsafe { &(*self.at(index)).node }
    }
    fn node_mut(&mut self, index: u32) -> &mut Node {
        // SAFETY: as above.
        unsafe { &mut (*self.at(index)).node }
    }
    fn height(&self, index: u32) -> u8 {
        // SAFETY: as above.
        unsafe { (*self.at(index)).extra[0] }
    }
    fn set_height(&mut self, index: u32, height: u8) {
        // SAFETY: as above.
        unsafe { (*self.at(index)).extra[0] = height };
    }
}

/// Proof that the table's lock is held.
pub(super) struct Locked<'a> {
    pub(super) table: &'a Table,
    pub(super) shape: MutexGuard<'a, Shape>,
}

impl Locked<'_> {
    pub(super) fn record(&mut self, slot: u32) -> &mut Record {
        // SAFETY: the lock is held, and `&mut self` makes the reference the
        // only one.
        unsafe { &mut *self.table.records.pointer(slot).cast::<Record>() }
    }

    pub(super) fn queue(&mut self, subscriber: u16) -> &mut Queue {
        // SAFETY: as for `record`.
        unsafe {
            &mut *self
                .table
                .queues
                .pointer(u32::from(subscriber))
                .cast::<Queue>()
        }
    }

    pub(super) fn range(&mut self, slot: u32) -> Range {
        let node = self.record(slot).node;
        Range::between(node.start, node.end)
    }

    /// Whether a slot holds the region of this generation, changed or not.
    pub(super) fn holds(&mut self, slot: u32, armed: u32) -> bool {
        let count = self.table.words.at(slot).load(Ordering::Relaxed);
        match self.record(slot).state {
            State::Free => false,
            State::Armed => count == armed,
            State::Pending => count == armed.wrapping_add(1),
        }
    }

    /// Puts an armed region into the tree.
    pub(super) fn link(&mut self, slot: u32) {
        if self.table.matching == Matching::ByAddress {
            self.shape
                .tree
                .insert(&mut Records { table: self.table }, slot);
        }
        self.shape.armed += 1;
    }

    /// Takes an armed region out of the tree.
    pub(super) fn unlink(&mut self, slot: u32) {
        if self.table.matching == Matching::ByAddress {
            self.shape
                .tree
                .remove(&mut Records { table: self.table }, slot);
        }
        self.shape.armed -= 1;
    }

    /// Appends a region that is in no structure to its subscriber's queue,
    /// and announces the queue if it was empty.
    pub(super) fn enqueue(&mut self, slot: u32, reason: Reason) {
        self.shape.changes[reason as usize] += 1;
        let record = self.record(slot);
        (record.state, record.reason) = (State::Pending, reason);
        let subscriber = record.subscriber;
        let tail = self.queue(subscriber).tail;
        self.join(tail, slot);
        self.join(slot, NIL);
        self.queue(subscriber).tail = slot;
        self.table.waiting.fetch_add(1, Ordering::Relaxed);
        if tail == NIL {
            *self.record(slot).node.loose().previous = NIL;
            let queue = self.queue(subscriber);
            queue.head = slot;
            eventfd::signal(queue.eventfd);
        }
    }

    /// Makes two queued regions neighbours; either may be NIL.
    pub(super) fn join(&mut self, first: u32, second: u32) {
        if first != NIL {
            *self.record(first).node.loose().next = second;
        }
        if second != NIL {
            *self.record(second).node.loose().previous = first;
        }
    }

    /// Takes a region out of its subscriber's queue.
    pub(super) fn dequeue(&mut self, slot: u32) {
        let record = self.record(slot);
        let subscriber = record.subscriber;
        let links = record.node.loose();
        let (next, previous) = (*links.next, *links.previous);
        self.join(previous, next);
        if previous == NIL {
            self.queue(subscriber).head = next;
        }
        if next == NIL {
            self.queue(subscriber).tail = previous;
        }
        self.table.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns a slot that is in no structure to the free list.
    pub(super) fn release(&mut self, slot: u32) {
        let free = self.shape.free;
        let record = self.record(slot);
        record.state = State::Free;
        *record.node.loose().next = free;
        self.shape.free = slot;
    }
}
