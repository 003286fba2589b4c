// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making room in a group: whose entries go.

use super::super::excess::Excess;
use super::super::links::List;
use super::super::request::Request;
use super::super::turns::Turn;
use super::super::{Inner, entries::Entry, entries::Stamp};
use super::{Group, Member, Pool, Visit};
use crate::thread_registry;
use crate::unwinding;
use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

/// Nothing idle is left in a member.
const NONE: u64 = u64::MAX;

/// For whom room is made: a member, and what it is about to register.
#[derive(Clone, Copy)]
struct Incoming<'r> {
    cache: &'r Inner,
    request: &'r Request,
}

impl<'r> Incoming<'r> {
    /// What a member is to spare.
    fn of(self, cache: &Inner) -> Option<&'r Request> {
        std::ptr::eq(self.cache, cache).then_some(self.request)
    }
}

/// An entry that was evicted, to be deregistered with no lock held.
struct Victim<'p> {
    visit: Visit<'p>,
    retired: List,
}

impl Victim<'_> {
    /// Deregisters it; returns its bytes, and how many entries that were: none, when a
    /// callback did not return before it.
    fn release(self) -> (usize, usize) {
        let cache = self.visit.cache();
        let bytes = cache.length_of(self.retired);
        (bytes, cache.release_now(self.retired))
    }
}

impl Inner {
    /// No stamp of this cache is above this.
    fn latest(&self) -> u64 {
        // Relaxed: a use this moment may count as before or after, and so may one by a
        // thread whose number is not known here yet.
        let shards = &self.shards[..=thread_registry::owners().highest()];
        let stamps = shards.iter().map(|s| s.stamp.load(Ordering::Relaxed));
        stamps.fold(self.epoch.load(Ordering::Relaxed), u64::max)
    }

    /// Whether the group, if there is one, has room for what this cache has promised
    /// room to.
    #[cold]
    #[inline(never)]
    pub(in super::super) fn admitted(&self, slot: u32, request: &Request) -> bool {
        (self.options.group.as_ref()).is_none_or(|group| group.admit(self, slot, request))
    }
}

impl Group {
    /// Makes room in the group for what `cache` has promised room to. `false`, and
    /// then the promise is taken back: it cannot be made.
    fn admit(&self, cache: &Inner, slot: u32, request: &Request) -> bool {
        let incoming = Incoming { cache, request };
        let admitted = self.pool.admit(incoming);
        if !admitted {
            // It is not registered, so what ended it does not matter.
            let _ = cache.state.lock().redeem(slot, request.range);
        }
        admitted
    }

    /// Evicts one idle entry for what `cache` lacks memory for, what that
    /// supersedes last; returns its bytes. `None`: there is none.
    pub(in super::super) fn evict_for(&self, cache: &Inner, request: &Request) -> Option<usize> {
        let victim = {
            let mut members = self.pool.members.lock();
            let incoming = Some(Incoming { cache, request });
            (self.pool.choose(&mut members, incoming))
                .or_else(|| self.pool.choose(&mut members, None))
        };
        Some(victim?.release().0)
    }

    /// Deregisters what waits for it in the caches besides this one; returns how many
    /// entries.
    pub(in super::super) fn release_backlogs(&self, besides: &Inner) -> usize {
        let mut released = 0;
        for place in 0.. {
            let visit = {
                let mut members = self.pool.members.lock();
                let Some(member) = members.get_mut(place) else {
                    break;
                };
                if member.leaving || member.is(besides) {
                    continue;
                }
                Visit::new(&self.pool, member)
            };
            released += visit.cache().release_backlog();
        }
        released
    }

    /// How many registrations the caches besides this one have undone, and whether
    /// they are undoing some.
    pub(in super::super) fn undone(&self, besides: &Inner) -> (u64, bool) {
        let members = self.pool.members.lock();
        let others = members.iter().filter(|member| !member.is(besides));
        others.fold((0, false), |(undone, undoing), member| {
            let state = member.cache.state.lock();
            (
                undone + state.counts.deregistrations,
                undoing || state.releasing > 0,
            )
        })
    }
}

impl Pool {
    /// As [`Group::evict`].
    pub(super) fn evict(&self, bytes: usize) -> usize {
        let (mut freed, mut evicted) = (0, 0);
        while freed < bytes && !unwinding::is_held() {
            let victim = self.choose(&mut self.members.lock(), None);
            let Some(victim) = victim else { break };
            let (length, count) = victim.release();
            freed += length;
            evicted += count;
        }
        evicted
    }

    fn admit(&self, incoming: Incoming<'_>) -> bool {
        let mut looked = false;
        loop {
            let victim = {
                let mut members = self.members.lock();
                if !looked {
                    // Once for what is about to be registered.
                    Pool::even_out(&members);
                }
                let over = self.over(&members, incoming);
                if over.is_none() {
                    return true;
                }
                // What cannot fit is not worth emptying the caches for.
                if !looked && !self.can_free(&members, incoming, over) {
                    return false;
                }
                looked = true;
                self.choose(&mut members, Some(incoming))
            };
            // Before more is registered, or the limits would not be limits.
            match victim {
                Some(victim) if !unwinding::is_held() => victim.release(),
                Some(victim) => {
                    victim.release();
                    return false;
                }
                None => return false,
            };
        }
    }

    /// Has the clocks of all go on from the latest.
    fn even_out(members: &[Member]) {
        let latest = (members.iter().map(|member| member.cache.latest()))
            .max()
            .map_or(0, Stamp::end_of);
        for member in members {
            // As `tick` writes it.
            let _state = member.cache.state.lock();
            let epoch = &member.cache.epoch;
            epoch.store(epoch.load(Ordering::Relaxed).max(latest), Ordering::Relaxed);
        }
    }

    /// By how much the limits are exceeded, not counting what is about to be
    /// superseded.
    fn over(&self, members: &[Member], incoming: Incoming<'_>) -> Excess {
        let (mut count, mut bytes) = (0, 0);
        for member in members {
            let state = member.cache.state.lock();
            count += state.cached + state.promised;
            bytes += state.cached_bytes + state.promised_bytes;
            let Some(request) = incoming.of(&member.cache) else {
                continue;
            };
            let entries = &member.cache.entries;
            let _ = state.visit_superseded::<()>(entries, request, &mut |index| {
                count -= 1;
                bytes -= entries.at(index).range().len();
                ControlFlow::Continue(())
            });
        }
        Excess {
            entries: count.saturating_sub(self.max_entries),
            bytes: bytes.saturating_sub(self.max_bytes),
        }
    }

    /// Whether evicting could free so much.
    fn can_free(&self, members: &[Member], incoming: Incoming<'_>, over: Excess) -> bool {
        let mut lacking = over;
        incoming.request.range.len() <= self.max_bytes
            && members
                .iter()
                .filter(|member| !member.leaving)
                .any(|member| {
                    let state = member.cache.state.lock();
                    let spared = incoming.of(&member.cache);
                    lacking = state.lacking_after(&member.cache.entries, spared, lacking);
                    lacking.is_none()
                })
    }

    /// Evicts the entry of all members that is idle and was used before all others
    /// of its priority that are, sparing what is superseded.
    fn choose<'p>(
        &'p self,
        members: &mut [Member],
        incoming: Option<Incoming<'_>>,
    ) -> Option<Victim<'p>> {
        let mut turn = Turn::of(0)?;
        loop {
            let victim = self.choose_in(&mut turn, members, incoming);
            if victim.is_some() {
                return victim;
            }
            turn = turn.next()?;
        }
    }

    /// As `choose`, in a turn. Every member's entries have had it when there is none.
    fn choose_in<'p>(
        &'p self,
        turn: &mut Turn,
        members: &mut [Member],
        incoming: Option<Incoming<'_>>,
    ) -> Option<Victim<'p>> {
        for member in &mut *members {
            member.bound = if member.leaving { NONE } else { 0 };
        }
        loop {
            let mut bounds: (u64, u64) = (NONE, NONE);
            let mut first = None;
            for (place, member) in members.iter().enumerate() {
                if member.bound < bounds.0 {
                    bounds = (member.bound, bounds.0);
                    first = Some(place);
                } else {
                    bounds.1 = bounds.1.min(member.bound);
                }
            }
            let member = members.get_mut(first?)?;
            let spared = incoming.and_then(|incoming| incoming.of(&member.cache));
            let mut retired = List::EMPTY;
            match member.evict_until(turn, bounds.1, spared, &mut retired) {
                None => {
                    return Some(Victim {
                        visit: Visit::new(self, member),
                        retired,
                    });
                }
                Some(bound) => member.bound = bound,
            }
        }
    }
}

impl Member {
    /// Evicts its least recently used idle entry, if that was last used at `limit` or
    /// before; else, when it was: `NONE`, if there is no such entry.
    fn evict_until(
        &mut self,
        turn: &mut Turn,
        limit: u64,
        spared: Option<&Request>,
        retired: &mut List,
    ) -> Option<u64> {
        let entries = &self.cache.entries;
        let later = Cell::new(NONE);
        let mut state = self.cache.state.lock();
        if !turn.is_of(state.least_priority()) {
            return Some(NONE);
        }
        let wanted = |entry: &Entry| {
            let used = Stamp::clock(entry.stamp.load(Ordering::Relaxed));
            if used > limit {
                later.set(used);
            }
            used <= limit
        };
        let any = state.has_priorities();
        let has_turn = |index| !any || turn.is_of(entries.extra(index).priority());
        let evicted = state.evict_one_if(entries, spared, retired, wanted, has_turn);
        (!evicted).then(|| later.get())
    }
}
