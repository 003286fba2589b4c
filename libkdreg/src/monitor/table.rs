// SPDX-License-Identifier: MIT OR Apache-2.0
//! The monitored regions of a user-space backend: slots, interval tree, and
//! the event queues of the subscribers.
//!
//! # The lock
//! One mutex protects the records, the tree and the queues. It is a leaf:
//! whoever holds it makes no system call that can wait (writing to a
//! non-blocking eventfd cannot), allocates and frees nothing, and touches no
//! memory but the table's own. It is held for short times; but an application
//! may stop any of its threads at any point, and with it a holder, while another
//! of its threads sleeps inside munmap until the notification handler has read
//! the event. So the handler does not wait for this lock, it tries it.
//!
//! # Slots
//! Free -> Armed (`insert`) -> Pending (`invalidate`: word bumped, event
//! queued) -> Free (`drain`), or Armed/Pending -> Free (`remove`). The event
//! lives in the region's own record, so a change needs no memory and no queue
//! can overflow; each region yields at most one event.

mod changes;
mod locked;
mod record;

use super::backend::Activity;
use super::state_words::{self, MAX_REGIONS, StateWords};
use super::{Event, Reason};
use crate::descriptor::Number;
use crate::errno::Errno;
use crate::interval_tree::{NIL, Node, Tree};
use crate::lock::Mutex;
use crate::process::Home;
use crate::range::Range;
use crate::reservation::{OnFork, Reservation};
use locked::{Locked, View};
use record::{Queue, QueueCell, RecordCell, State};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, Ordering};

/// Subscribers one monitor can have.
const MAX_SUBSCRIBERS: usize = u16::MAX as usize;

/// Regions the handler invalidates before it lets others have the lock.
const BATCH: usize = 256;

/// What only the holder of the lock may touch, besides the cells.
struct Shape {
    tree: Tree,
    /// Head of the list of freed slots.
    free: u32,
    /// Slots never used so far begin here.
    fresh: u32,
    armed: u32,
    /// Changes so far, by reason.
    changes: [u64; Reason::ALL.len()],
}

/// How changes are matched with regions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Matching {
    /// By address, here: regions are in the interval tree.
    ByAddress,
    /// By slot, elsewhere: the tree stays empty.
    BySlot,
}

/// The regions of one monitor.
pub(crate) struct Table {
    records: Reservation<RecordCell>,
    queues: Reservation<QueueCell>,
    words: &'static StateWords,
    limit: u32,
    matching: Matching,
    home: Home,
    /// Events queued, for a look without the lock.
    waiting: AtomicU32,
    shape: Mutex<Shape>,
}

/// What a region is called by whatever matches changes with it, where that is
/// not this table: generation and address of its state word there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Outer {
    pub generation: u32,
    pub word: usize,
}

/// What `remove` found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    /// The region was armed.
    Armed(Range),
    /// It had changed already.
    Changed,
}

impl Table {
    /// A table for at most `limit` regions (0: as many as there can be).
    pub fn new(limit: u32, matching: Matching) -> Result<Table, Errno> {
        if limit > MAX_REGIONS {
            return Err(Errno::EINVAL);
        }
        let limit = if limit == 0 { MAX_REGIONS } else { limit };
        Ok(Table {
            records: Reservation::new(limit as usize, OnFork::Copy)?,
            queues: Reservation::new(MAX_SUBSCRIBERS, OnFork::Copy)?,
            words: state_words::take()?,
            limit,
            matching,
            home: Home::here()?,
            waiting: AtomicU32::new(0),
            shape: Mutex::new(Shape {
                tree: Tree::new(),
                free: NIL,
                fresh: 0,
                armed: 0,
                changes: [0; Reason::ALL.len()],
            }),
        })
    }

    pub fn words(&self) -> &'static StateWords {
        self.words
    }

    fn lock(&self) -> Locked<'_> {
        // A panic under the lock would be a bug in this file; the table's
        // links are then still memory-safe, and the handler must go on.
        Locked {
            table: self,
            shape: self.shape.lock(),
        }
    }

    /// As `lock`, where it is free.
    fn try_lock(&self) -> Option<Locked<'_>> {
        Some(Locked {
            table: self,
            shape: self.shape.try_lock()?,
        })
    }

    /// How many regions are armed.
    pub fn armed(&self) -> u32 {
        self.lock().shape.armed
    }

    /// What it watches and has seen.
    pub fn activity(&self) -> Activity {
        self.activity_in(&self.lock())
    }

    /// As `activity`, by one who must not wait for the lock.
    pub fn try_activity(&self) -> Option<Activity> {
        Some(self.activity_in(&self.try_lock()?))
    }

    fn activity_in(&self, locked: &Locked<'_>) -> Activity {
        Activity {
            regions: locked.shape.armed,
            changes: locked.shape.changes,
            name: std::ptr::from_ref(self).addr(),
        }
    }

    /// Adds a subscriber whose queue announces itself on `eventfd`.
    pub fn subscribe(&self, eventfd: Number) -> Result<u16, Errno> {
        for index in 0..MAX_SUBSCRIBERS {
            self.queues.commit(index + 1)?;
            let mut locked = self.lock();
            let queue = locked.queue(index as u16);
            if !queue.used {
                *queue = Queue {
                    used: true,
                    eventfd,
                    head: NIL,
                    tail: NIL,
                };
                return Ok(index as u16);
            }
        }
        Err(Errno::EMFILE)
    }

    /// Removes a subscriber that has no regions left. Its eventfd may be
    /// closed once this returned: nobody will write to it any more.
    pub fn unsubscribe(&self, subscriber: u16) {
        self.lock().queue(subscriber).used = false;
    }

    /// Arms a region: its slot and generation.
    ///
    /// From here on a change marks it; the caller then makes sure that changes
    /// are noticed, and removes the region again if that fails.
    pub fn insert(&self, subscriber: u16, range: Range, cookie: u64) -> Result<(u32, u32), Errno> {
        loop {
            let mut locked = self.lock();
            let (free, fresh) = (locked.shape.free, locked.shape.fresh);
            let slot = if free != NIL {
                locked.shape.free = *locked.record(free).node.loose().next;
                free
            } else if (fresh as usize) < self.committed() {
                locked.shape.fresh += 1;
                fresh
            } else {
                drop(locked);
                // Memory outside the lock. Somebody may take it first.
                if fresh >= self.limit {
                    return Err(Errno::ENOSPC);
                }
                self.records.commit(fresh as usize + 1)?;
                self.words.commit(fresh as usize + 1)?;
                continue;
            };
            let Some(generation) = state_words::arm(self.words.at(slot)) else {
                continue; // spent for good: leave it out of the free list
            };
            let record = locked.record(slot);
            record.node = Node::new(range.start(), range.end());
            record.cookie = cookie;
            record.subscriber = subscriber;
            record.state = State::Armed;
            record.extra = [0; 4];
            locked.link(slot);
            return Ok((slot, generation));
        }
    }

    /// How many slots there is memory for, the limit at most.
    fn committed(&self) -> usize {
        self.records
            .committed()
            .min(self.words.committed())
            .min(self.limit as usize)
    }

    /// Frees the slot of a region, whose event, if one is queued, goes with it.
    ///
    /// A region whose event was drained has no slot any more: `Changed`.
    pub fn remove(&self, slot: u32, generation: u32) -> Removed {
        let mut locked = self.lock();
        if slot >= locked.shape.fresh {
            return Removed::Changed;
        }
        let word = self.words.at(slot);
        let count = word.load(Ordering::Relaxed);
        match locked.record(slot).state {
            State::Armed if count == generation => {
                let range = locked.range(slot);
                locked.unlink(slot);
                state_words::bump(word);
                locked.release(slot);
                Removed::Armed(range)
            }
            State::Pending if count == generation.wrapping_add(1) => {
                locked.dequeue(slot);
                locked.release(slot);
                Removed::Changed
            }
            _ => Removed::Changed,
        }
    }

    /// Remembers what an armed region is called by whatever matches it. A
    /// region that changed and whose event was taken meanwhile is gone.
    pub fn set_outer(&self, slot: u32, armed: u32, name: Outer) {
        let mut locked = self.lock();
        if locked.holds(slot, armed) {
            locked.record(slot).set_outer(name);
        }
    }

    /// As `remove`, by the other name; if the region was armed, its generation
    /// here. Found and removed under one hold of the lock: the name may be
    /// given to another region as soon as this one's event is taken.
    pub fn remove_outer(&self, slot: u32, name: Outer) -> Option<u32> {
        let mut locked = self.lock();
        if slot >= locked.shape.fresh || name.generation == 0 {
            return None;
        }
        let record = locked.record(slot);
        if record.outer() != name {
            return None;
        }
        let state = record.state;
        let word = self.words.at(slot);
        let count = word.load(Ordering::Relaxed);
        match state {
            State::Free => None,
            State::Armed => {
                locked.unlink(slot);
                state_words::bump(word);
                locked.release(slot);
                Some(count)
            }
            State::Pending => {
                locked.dequeue(slot);
                locked.release(slot);
                None
            }
        }
    }

    /// What an armed region is called by whatever matches it, as it was set.
    pub fn outer(&self, slot: u32, armed: u32) -> Option<Outer> {
        let mut locked = self.lock();
        if !locked.holds(slot, armed) {
            return None;
        }
        Some(locked.record(slot).outer())
    }

    /// Takes up to `events.len()` events off a subscriber's queue; returns how
    /// many. Their slots are free afterwards.
    pub fn drain(&self, subscriber: u16, events: &mut [Event]) -> usize {
        let mut locked = self.lock();
        for (taken, event) in events.iter_mut().enumerate() {
            let slot = locked.queue(subscriber).head;
            if slot == NIL {
                return taken;
            }
            locked.dequeue(slot);
            let range = locked.range(slot);
            let record = locked.record(slot);
            *event = Event {
                cookie: record.cookie,
                range: Some(range),
                reason: record.reason,
            };
            locked.release(slot);
        }
        events.len()
    }

    /// Whether a subscriber has events queued.
    pub fn pending(&self, subscriber: u16) -> bool {
        self.lock().queue(subscriber).head != NIL
    }

    /// Whether any subscriber has events queued. A snapshot.
    pub fn any_pending(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) != 0
    }

    /// The lowest slot not below `from` that holds a region of `subscriber`,
    /// with the generation to remove it by.
    pub fn next_of(&self, subscriber: u16, from: u32) -> Option<(u32, u32)> {
        let mut from = from;
        loop {
            // In steps, so that the handler never waits for a long scan.
            let mut locked = self.lock();
            let fresh = locked.shape.fresh;
            let stop = fresh.min(from.saturating_add(4096));
            for slot in from..stop {
                let count = self.words.at(slot).load(Ordering::Relaxed);
                let record = locked.record(slot);
                if record.state != State::Free && record.subscriber == subscriber {
                    let armed = record.state == State::Armed;
                    return Some((slot, if armed { count } else { count.wrapping_sub(1) }));
                }
            }
            if stop == fresh {
                return None;
            }
            from = stop;
        }
    }

    /// Whether any armed region touches `range`.
    pub fn watches(&self, range: Range) -> bool {
        let locked = self.lock();
        let view = View { table: self };
        let found = &mut |_| ControlFlow::Break(());
        locked
            .shape
            .tree
            .overlapping(&view, range.start(), range.end(), found)
            .is_break()
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if !self.home.is_here() {
            return; // a child's copy: the lock may be held for ever, the words are wiped
        }
        self.invalidate_all(Reason::Release);
        self.words.guard.die();
        state_words::give_back(self.words);
    }
}

#[cfg(test)]
mod tests;
