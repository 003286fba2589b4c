// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the cache's lock protects: the tree, the eviction order, the lists and
//! the counts. Every method runs under the lock and only moves links.

use super::bypass::Bypass;
use super::cause::Cause;
use super::entries::{Entries, Entry};
use super::links::{EntryLinks, List, UnderWay};
use super::lru::Lru;
use super::prefetches::Queue;
use super::refs::{Detach, revoke_all};
use super::request::Request;
use super::rounds::Rounds;
use super::statistics::Statistics;
use super::turns::Kept;
use super::untold::Untold;
use super::waiting::Done;
#[cfg(test)]
use crate::interval_tree::NIL;
use crate::interval_tree::Tree;
use crate::range::Range;
use crate::thread_registry;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;

pub(crate) struct State {
    pub links: EntryLinks,
    /// The live entries, by range.
    pub tree: Tree,
    pub(super) lru: Lru,
    pub(super) kept: Kept,
    pub(super) ahead: Queue,
    /// Slots of entries that were released.
    free: List,
    /// Slots never used so far begin here.
    fresh: u32,
    /// Slots taken and not given back.
    pub taken: usize,
    /// No slot is taken any more, and nothing becomes an entry (`drop`).
    pub draining: bool,
    /// What is to be called when all slots have been given back.
    pub drained: Option<Done>,
    /// Retired entries left to the reaper, and their bytes.
    pub backlog: List,
    pub backlog_bytes: usize,
    /// Entries that were retired and whose slots are not given back yet: their
    /// registrations are being undone, or wait for it.
    pub releasing: usize,
    /// Live entries, and room promised to registrations under way.
    pub cached: usize,
    pub cached_bytes: usize,
    pub promised: usize,
    pub promised_bytes: usize,
    /// The registrations that room was promised to, but those that were ended
    /// (`end_under_way`): they may become entries. Where each is, its slot says.
    under_way: UnderWay,
    /// What is in use and not to be found: what is said to have changed is told
    /// to these, too.
    pub orphans: UnderWay,
    /// Who waits for what is being released.
    pub(super) rounds: Rounds,
    /// What was dropped and is to be told of.
    pub(super) untold: Untold,
    /// Entries that are being told of.
    pub(super) telling: usize,
    /// Whether anybody is to be told.
    pub(super) tells: bool,
    /// What was counted so far: all but the hits, which threads count for
    /// themselves, and what is there now.
    pub counts: Statistics,
    pub bypass: Bypass,
    /// Entries made findable so far: what was not there when this was so much
    /// is still not there while it is.
    pub(super) insertions: u64,
}

impl State {
    /// What is before it is never given out: the page index says 0 for "none".
    pub const FIRST_SLOT: u32 = 1;

    pub fn new(links: EntryLinks, lru: Lru) -> State {
        State {
            links,
            tree: Tree::new(),
            lru,
            kept: Kept::NONE,
            ahead: Queue::NONE,
            free: List::EMPTY,
            fresh: State::FIRST_SLOT,
            taken: 0,
            draining: false,
            drained: None,
            backlog: List::EMPTY,
            backlog_bytes: 0,
            releasing: 0,
            cached: 0,
            cached_bytes: 0,
            promised: 0,
            promised_bytes: 0,
            under_way: UnderWay::NONE,
            orphans: UnderWay::NONE,
            rounds: Rounds::NONE,
            untold: Untold::NONE,
            telling: 0,
            tells: false,
            counts: Statistics::default(),
            bypass: Bypass::new(),
            insertions: 0,
        }
    }

    /// Slots in use so far: all are below this.
    pub fn used_slots(&self) -> u32 {
        self.fresh
    }

    /// How many slots were given back and not taken since.
    #[cfg(test)]
    pub fn free_slots(&self) -> usize {
        let first = self.free.first();
        let next = |&index: &u32| Some(self.links.after(index)).filter(|&after| after != NIL);
        std::iter::successors(first, next).count()
    }

    /// How many slots must be committed for `take_slot` to succeed.
    pub fn slots_wanted(&self) -> u32 {
        if self.free.is_empty() {
            self.fresh + 1
        } else {
            self.fresh
        }
    }

    /// A free slot, of which the first `committed` are usable.
    pub fn take_slot(&mut self, committed: impl FnOnce() -> u32) -> Option<u32> {
        if self.draining {
            return None;
        }
        self.taken += 1;
        if let Some(index) = self.free.pop(&mut self.links) {
            return Some(index);
        }
        self.taken -= 1;
        (self.fresh < committed()).then(|| {
            self.taken += 1;
            self.fresh += 1;
            self.fresh - 1
        })
    }

    /// Takes a slot back. Its reference word is free, but for lookups that
    /// came too late.
    pub fn give_slot(&mut self, index: u32) {
        self.taken -= 1;
        // The slot used last is the one still in the processor's caches.
        self.free.push_first(&mut self.links, index);
    }

    /// Files a live entry in the eviction order.
    pub fn file(&mut self, entries: &Entries, index: u32) {
        self.lru.file(&mut self.links, entries, index);
    }

    /// A live entry that serves `range`, with a reference taken on it.
    pub fn take_serving(&self, entries: &Entries, range: Range, access: u32) -> Option<u32> {
        self.tree
            .overlapping(
                &self.links,
                range.start(),
                range.start() + 1,
                &mut |index| {
                    let entry = entries.at(index);
                    // Entries in the tree are live, and under the lock they stay
                    // so: the reference is granted.
                    if entry.serves(range, access)
                        && !entry.has_changed()
                        && entry.refs.take().is_ok()
                    {
                        ControlFlow::Break(index)
                    } else {
                        ControlFlow::Continue(())
                    }
                },
            )
            .break_value()
    }

    /// As `take_serving`; if there is none, whether anything overlaps `bare`,
    /// which contains the range, or is less than `apart` from it (0: need not
    /// be asked; 1: touches it) and is `welcome`.
    pub fn look(
        &self,
        entries: &Entries,
        (range, access): (Range, u32),
        bare: Range,
        apart: usize,
        welcome: impl Fn(&Entry) -> bool,
    ) -> Sight {
        let mut alone = true;
        let from = bare.start().saturating_sub(apart);
        let serving = self
            .tree
            .overlapping(&self.links, from, bare.end() + apart, &mut |index| {
                let entry = entries.at(index);
                if entry.serves(range, access) && !entry.has_changed() && entry.refs.take().is_ok()
                {
                    return ControlFlow::Break(index);
                }
                alone = alone && !entry.range().overlaps(bare) && !welcome(entry);
                ControlFlow::Continue(())
            })
            .break_value();
        match serving {
            Some(index) => Sight::Serving(index),
            None if alone => Sight::Alone(Alone {
                insertions: self.insertions,
            }),
            None => Sight::Others,
        }
    }

    /// Whether nothing overlaps the range of which `alone` was said. Entries
    /// that went since do not matter, and none came.
    pub fn is_alone(&self, alone: Option<Alone>) -> bool {
        alone.is_some_and(|alone| alone.insertions == self.insertions)
    }

    /// Makes an entry findable, in use by the caller.
    pub fn insert_live(&mut self, entries: &Entries, index: u32, stamp: u64) {
        // SAFETY: a slot that was taken is committed.
        let entry = unsafe { entries.at_unchecked(index) };
        let range = entry.range();
        self.links.set_range(index, range);
        self.tree.insert(&mut self.links, index);
        self.lru.file_new(&mut self.links, entries, index, stamp);
        self.cached += 1;
        self.cached_bytes += range.len();
        self.insertions += 1;
        entry.refs.publish();
    }

    /// Promises room, of the length of its range, to the registration that is
    /// about to be made for a slot.
    #[inline]
    pub(super) fn promise(&mut self, slot: u32, range: Range) {
        self.promised += 1;
        self.promised_bytes += range.len();
        self.under_way.add(&mut self.links, slot);
    }

    /// Takes a promise back: kept, or not needed. Whether the registration may
    /// become an entry: `false` when it was ended.
    #[must_use = "what was ended is not to be found"]
    #[inline]
    pub fn redeem(&mut self, slot: u32, range: Range) -> bool {
        self.promised -= 1;
        self.promised_bytes -= range.len();
        self.under_way.take(&mut self.links, slot)
    }

    /// Whether `end_under_way` may find something to end.
    #[inline]
    pub fn is_any_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Ends the registrations under way that overlap `range`: what has been
    /// pinned for them is from before, and none of them becomes an entry. Those
    /// begun later stand.
    ///
    /// Its place in the list is all that a registration knows of this, and both
    /// sides look under the lock: whoever publishes after this has lost its
    /// place, and whoever published before is an entry in the tree.
    #[cold]
    pub fn end_under_way(&mut self, entries: &Entries, range: Range) {
        self.under_way.retain(&mut self.links, |slot| {
            !entries.at(slot).range().overlaps(range)
        });
    }

    /// Ends the findability of a live entry; if nobody uses it, it joins
    /// `retired`.
    pub fn drop_live(&mut self, entries: &Entries, index: u32, cause: Cause, retired: &mut List) {
        if self.tells {
            self.keep_untold(entries, index, cause);
        }
        entries.at(index).refs.revoke(thread_registry::caller());
        let outcome = entries.at(index).refs.detach();
        debug_assert_ne!(outcome, Detach::NotLive);
        self.unlink(entries, index, cause);
        if outcome == Detach::Claimed {
            self.releasing += 1;
            retired.push(&mut self.links, index);
        } else {
            self.orphans.add(&mut self.links, index);
        }
    }

    /// Live entries that overlap `range`, as many of them as there is `room`
    /// for. It comes uninitialised: to find nothing takes little longer than to
    /// clear it would.
    #[inline]
    pub fn overlapping<'a>(&self, range: Range, room: &'a mut [MaybeUninit<u32>]) -> &'a [u32] {
        let mut count = 0;
        let _ = self
            .tree
            .overlapping(&self.links, range.start(), range.end(), &mut |index| {
                let Some(place) = room.get_mut(count) else {
                    return ControlFlow::Break(());
                };
                place.write(index);
                count += 1;
                ControlFlow::Continue(())
            });
        let found: *const [MaybeUninit<u32>] = &raw const room[..count];
        // SAFETY: these were written just now, one after the other, and are
        // borrowed as `room` was; what was written looks like its contents.
        unsafe { &*(found as *const [u32]) }
    }

    /// As `drop_live` for several, those of them that are live.
    pub fn drop_all(&mut self, entries: &Entries, batch: &[u32], cause: Cause, retired: &mut List) {
        let refs = |&index: &u32| &entries.at(index).refs;
        revoke_all(batch.iter().map(refs), thread_registry::caller());
        for &index in batch {
            if entries.at(index).refs.is_live() {
                self.drop_live(entries, index, cause, retired);
            }
        }
    }

    /// Takes an entry that is not live any more out of tree and order.
    pub(super) fn unlink(&mut self, entries: &Entries, index: u32, cause: Cause) {
        // SAFETY: it is in the tree, and so is committed.
        let range = unsafe { entries.at_unchecked(index) }.range();
        self.tree.remove(&mut self.links, index);
        self.lru.remove(&mut self.links, index);
        self.end_priority(entries, index);
        self.cached -= 1;
        self.cached_bytes -= range.len();
        match cause {
            Cause::Changed | Cause::Invalidated | Cause::Dropped | Cause::Lost => {
                self.counts.invalidations += 1;
            }
            Cause::Evicted => self.counts.evictions += 1,
            Cause::Superseded => self.counts.merges += 1,
            Cause::Flushed => {}
        }
    }

    pub(super) fn visit_superseded<B>(
        &self,
        entries: &Entries,
        request: &Request,
        visit: &mut impl FnMut(u32) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Request { range, .. } = *request;
        self.tree
            .overlapping(&self.links, range.start(), range.end(), &mut |index| {
                if request.supersedes(entries.at(index)) {
                    visit(index)
                } else {
                    ControlFlow::Continue(())
                }
            })
    }
}

/// What `State::look` saw.
pub(crate) enum Sight {
    /// An entry that serves, with a reference taken on it.
    Serving(u32),
    /// None, nor any that a registration would have to do with.
    Alone(Alone),
    /// None, but others that overlap or could be merged.
    Others,
}

/// That nothing overlapped a range when so many entries had been inserted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Alone {
    pub(super) insertions: u64,
}
