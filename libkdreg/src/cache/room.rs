// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making room: evicting the least recently used, within the limits.

use super::cause::Cause;
use super::entries::{Entries, Entry};
use super::excess::Excess;
use super::limits::Options;
use super::links::List;
use super::refs::{BATCH, NOBODY, revoke_all};
use super::request::Request;
use super::state::{Alone, State};
use super::turns::{PINNED, Turn};
use crate::thread_registry;
use std::ops::ControlFlow;

/// Entries in use that come up for eviction one after the other: their owners'
/// counting is ended for all together, since each time takes a barrier.
struct Ahead {
    entries: [u32; BATCH],
    count: usize,
}

/// Fewer than this are not worth looking for.
const FEW: usize = 8;

impl Ahead {
    #[cold]
    fn revoke(state: &State, entries: &Entries) -> Ahead {
        let mut ahead = Ahead {
            entries: [0; BATCH],
            count: 0,
        };
        let in_use = |&index: &u32| {
            let entry = entries.at(index);
            // What was used since it was filed is filed again when it comes up.
            entry.refs.is_counted_apart()
                && entry.filed_stamp().is_some()
                && entry.refs.in_use(thread_registry::owners())
        };
        let next = state.lru.next(&state.links, 8 * BATCH).filter(in_use);
        for (place, index) in ahead.entries.iter_mut().zip(next) {
            *place = index;
            ahead.count += 1;
        }
        let refs = |&index: &u32| &entries.at(index).refs;
        revoke_all(ahead.all().iter().map(refs), thread_registry::caller());
        ahead
    }

    fn all(&self) -> &[u32] {
        &self.entries[..self.count]
    }

    /// Those that did not come up are nobody's now.
    fn reopen(&self, entries: &Entries) {
        for &index in self.all() {
            entries.at(index).refs.reopen(NOBODY);
        }
    }
}

impl State {
    /// Retires the least recently used idle entry, leaving alone what a
    /// registration of `incoming` will supersede. `false` when there is none.
    pub fn evict_one(
        &mut self,
        entries: &Entries,
        incoming: Option<&Request>,
        retired: &mut List,
    ) -> bool {
        if self.has_priorities() {
            return self.evict_one_in_turn(entries, incoming, retired);
        }
        self.evict_one_if(entries, incoming, retired, |_| true, |_| true)
    }

    /// As `evict_one`, where entries have priorities.
    #[cold]
    #[inline(never)]
    fn evict_one_in_turn(
        &mut self,
        entries: &Entries,
        incoming: Option<&Request>,
        retired: &mut List,
    ) -> bool {
        let mut next = Turn::of(self.least_priority());
        while let Some(mut turn) = next {
            let has_turn = |index| turn.is_of(entries.extra(index).priority());
            if self.evict_one_if(entries, incoming, retired, |_| true, has_turn) {
                return true;
            }
            next = turn.next();
        }
        false
    }

    /// As `evict_one`, of those whose turn it is, until the least recently used
    /// that is left is not to be evicted.
    #[inline(always)]
    pub(super) fn evict_one_if(
        &mut self,
        entries: &Entries,
        incoming: Option<&Request>,
        retired: &mut List,
        wanted: impl Fn(&Entry) -> bool,
        mut has_turn: impl FnMut(u32) -> bool,
    ) -> bool {
        // Spared entries that came to the top wait here, and those passed over.
        let mut spared = List::EMPTY;
        let mut evicted = false;
        let mut ahead: Option<Ahead> = None;
        // How many in use may take a barrier each before others are seen to: a
        // single one is common, and others are not always found.
        let mut left = 1;
        while let Some(index) = self.lru.first(&mut self.links, entries) {
            // SAFETY: it is filed, and so is committed.
            let entry = unsafe { entries.at_unchecked(index) };
            if !wanted(entry) {
                break;
            }
            let apart = entry.refs.is_counted_apart();
            let superseded = incoming.is_some_and(|request| request.supersedes(entry));
            if superseded || !has_turn(index) {
                self.lru.remove(&mut self.links, index);
                spared.push(&mut self.links, index);
            } else if entry.refs.revoke_idle(thread_registry::caller()) {
                self.unlink(entries, index, Cause::Evicted);
                if self.tells {
                    // Idle: told of by who deregisters it.
                    entries.extra(index).set_cause(Some(Cause::Evicted));
                }
                self.releasing += 1;
                retired.push(&mut self.links, index);
                evicted = true;
                break;
            } else if entry.refs.unfile() {
                // In use: its last put files it again.
                self.lru.remove(&mut self.links, index);
                if !apart {
                    continue;
                }
                if left > 0 {
                    left -= 1;
                    continue;
                }
                if let Some(former) = ahead {
                    former.reopen(entries);
                }
                let next = Ahead::revoke(self, entries);
                left = if next.count < FEW { FEW } else { 0 };
                ahead = Some(next);
            }
            // Else it became idle this moment: look at it again.
        }
        if let Some(ahead) = ahead {
            ahead.reopen(entries);
        }
        while let Some(index) = spared.pop(&mut self.links) {
            if incoming.is_some_and(|request| request.supersedes(entries.at(index))) {
                self.lru.file(&mut self.links, entries, index);
            } else {
                self.file_last(entries, index);
            }
        }
        evicted
    }

    /// Evicts until `request` fits within the limits, not counting what it
    /// will supersede, and promises the room to its slot, which has its range.
    /// `false` when it cannot be made.
    pub fn make_room(
        &mut self,
        entries: &Entries,
        options: &Options,
        slot: u32,
        request: &Request,
        alone: Option<Alone>,
        retired: &mut List,
    ) -> bool {
        let length = request.range.len();
        let (mut count, mut bytes) = (0, 0);
        // Where nothing overlaps, nothing is superseded.
        let incoming = (!self.is_alone(alone)).then_some(request);
        if let Some(request) = incoming {
            let _ = self.visit_superseded::<()>(entries, request, &mut |index| {
                count += 1;
                bytes += entries.at(index).range().len();
                ControlFlow::Continue(())
            });
        }
        let over = Excess {
            entries: (self.cached + self.promised + 1)
                .saturating_sub(count)
                .saturating_sub(options.max_entries),
            bytes: (self.cached_bytes + self.promised_bytes)
                .saturating_sub(bytes)
                .saturating_add(length)
                .saturating_sub(options.max_bytes),
        };
        // What cannot fit is not worth emptying the cache for. Where one entry
        // less will do, evicting it tells as much as looking for it: unless those
        // that stay were to be passed over each time, for nothing.
        let one_will_do = over.entries <= 1 && over.bytes == 0 && !self.has_priorities();
        let mut possible =
            length <= options.max_bytes && (one_will_do || self.can_free(entries, request, over));
        while possible
            && (self.cached + self.promised - count >= options.max_entries
                || self.cached_bytes + self.promised_bytes - bytes > options.max_bytes - length)
        {
            possible = self.evict_one(entries, incoming, retired);
        }
        if possible {
            self.promise(slot, request.range);
        }
        possible
    }

    /// Whether evicting could free so much. Looks no further than it must.
    fn can_free(&self, entries: &Entries, request: &Request, over: Excess) -> bool {
        self.lacking_after(entries, Some(request), over).is_none()
    }

    /// What would be lacking still of so much after evicting what is idle and not to
    /// be spared. Looks no further than it must.
    pub(super) fn lacking_after(
        &self,
        entries: &Entries,
        spared: Option<&Request>,
        mut over: Excess,
    ) -> Excess {
        for index in self.lru.entries(&self.links) {
            if over.is_none() {
                break;
            }
            let entry = entries.at(index);
            let idle = !entry.refs.in_use(thread_registry::owners());
            let pinned = self.priority(entries, index) == PINNED;
            if idle && !pinned && !spared.is_some_and(|request| request.supersedes(entry)) {
                over.entries = over.entries.saturating_sub(1);
                over.bytes = over.bytes.saturating_sub(entry.range().len());
            }
        }
        over
    }

    /// Has the memory brought near that the next eviction will need; the entry
    /// that it will likely take.
    #[inline]
    pub fn prefetch_victim(&self, entries: &Entries) -> Option<u32> {
        self.lru.prefetch(&self.links, entries)
    }
}

#[cfg(test)]
mod tests;
