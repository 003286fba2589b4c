// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mappings that are registered with the kernel, as far as is known here.
//!
//! An entry is a mapping that this backend registered as a whole. The
//! application may have cut, moved or replaced it since: what the handler read
//! of that waits in [`Removals`](super::removals::Removals) and is taken in
//! before the list is believed.
//!
//! A mapping in which nothing is monitored any more is *idle*: it is let go,
//! but not at once where that would cost more than it is worth.

use crate::errno::Errno;
use crate::interval_tree::{NIL, Node, Nodes, Tree};
use crate::range::Range;
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// Milliseconds on a clock that only goes forward.
pub(super) type Instant = u64;

/// One entry's node, and what else is known of it.
struct Place {
    node: Node,
    height: u8,
    /// Since when nothing in it is monitored.
    idle_since: Option<Instant>,
    /// Whether it stands in `queue`.
    queued: bool,
    /// Whether the place holds an entry.
    used: bool,
}

#[derive(Default)]
struct Places(Vec<Place>);

impl Nodes for Places {
    fn node(&self, index: u32) -> &Node {
        &self.0[index as usize].node
    }
    fn node_mut(&mut self, index: u32) -> &mut Node {
        &mut self.0[index as usize].node
    }
    fn height(&self, index: u32) -> u8 {
        self.0[index as usize].height
    }
    fn set_height(&mut self, index: u32, height: u8) {
        self.0[index as usize].height = height;
    }
}

/// Ranges in doubt at a time. They are rare, and looked at soon.
const DOUBTS: usize = 8;

/// See the module's documentation. Entries do not overlap.
pub(super) struct Registered {
    places: Places,
    tree: Tree,
    /// Head of the list of places that are free, through `Loose::next`.
    free: u32,
    count: usize,
    /// Places that became idle, in that order. One that is not idle any more,
    /// or anew, is found out when its turn comes; each stands here once.
    queue: VecDeque<u32>,
    /// What is to be looked at before the list is believed: the last holds all
    /// there was no room for.
    doubts: [Option<Range>; DOUBTS],
}

impl Registered {
    pub const fn new() -> Registered {
        Registered {
            places: Places(Vec::new()),
            tree: Tree::new(),
            free: NIL,
            count: 0,
            queue: VecDeque::new(),
            doubts: [None; DOUBTS],
        }
    }

    /// How many mappings.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Makes sure that the next `insert` needs no memory.
    pub fn reserve(&mut self) -> Result<(), Errno> {
        if self.free == NIL {
            self.places.0.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            // Each place stands in the queue once at most.
            let all = self.places.0.len() + 1;
            let more = all.saturating_sub(self.queue.len());
            self.queue.try_reserve(more).map_err(|_| Errno::ENOMEM)?;
        }
        Ok(())
    }

    /// Notes that `mapping` is registered; what was noted inside it is the same
    /// mapping. After `reserve`.
    pub fn insert(&mut self, mapping: Range) {
        self.forget(mapping);
        let place = Place {
            node: Node::new(mapping.start(), mapping.end()),
            height: 0,
            idle_since: None,
            queued: false,
            used: true,
        };
        let index = match self.free {
            NIL => {
                self.places.0.push(place);
                (self.places.0.len() - 1) as u32
            }
            index => {
                let old = &mut self.places.0[index as usize];
                self.free = *old.node.loose().next;
                let queued = old.queued;
                *old = Place { queued, ..place };
                index
            }
        };
        self.tree.insert(&mut self.places, index);
        self.count += 1;
    }

    fn remove(&mut self, index: u32) {
        self.tree.remove(&mut self.places, index);
        let free = self.free;
        let place = &mut self.places.0[index as usize];
        (place.used, place.idle_since) = (false, None);
        *place.node.loose().next = free;
        self.free = index;
        self.count -= 1;
    }

    /// The first entry that overlaps `range`.
    fn first(&self, range: Range) -> Option<u32> {
        let visit = &mut |index| ControlFlow::Break(index);
        self.tree
            .overlapping(&self.places, range.start(), range.end(), visit)
            .break_value()
    }

    fn range(&self, index: u32) -> Range {
        let node = &self.places.0[index as usize].node;
        Range::between(node.start, node.end)
    }

    /// Takes out the first entry that overlaps `range`, and returns it.
    pub fn take(&mut self, range: Range) -> Option<Range> {
        let index = self.first(range)?;
        let taken = self.range(index);
        self.remove(index);
        Some(taken)
    }

    /// Takes out whatever overlaps `range`. An entry that goes beyond it had
    /// changed, and what is beside `range` may be registered still, with somebody
    /// relying on it: that is to be looked at before the list is believed.
    pub fn forget(&mut self, range: Range) {
        while let Some(entry) = self.take(range) {
            if !range.contains(entry) {
                self.doubt(entry);
            }
        }
    }

    /// Has `range` looked at.
    pub fn doubt(&mut self, range: Range) {
        let free = self.doubts.iter().position(Option::is_none);
        let place = &mut self.doubts[free.unwrap_or(DOUBTS - 1)];
        *place = Some(place.map_or(range, |it| it.hull(range)));
    }

    /// Takes out what is to be looked at.
    pub fn take_doubts(&mut self) -> impl Iterator<Item = Range> + use<> {
        let none_in_doubt = self.doubts[0].is_none();
        let taken = if none_in_doubt {
            [None; DOUBTS]
        } else {
            std::mem::take(&mut self.doubts)
        };
        taken.into_iter().flatten()
    }

    /// The first entry that overlaps `range`.
    pub fn find(&self, range: Range) -> Option<Range> {
        self.first(range).map(|index| self.range(index))
    }

    /// Whether every byte of `range` lies in an entry. Those that do are in use
    /// from here on.
    pub fn covers(&mut self, range: Range) -> bool {
        let mut from = range.start();
        while from < range.end() {
            let rest = Range::between(from, range.end());
            let Some(index) = self.first(rest).filter(|&i| self.range(i).start() <= from) else {
                return false;
            };
            self.places.0[index as usize].idle_since = None;
            from = self.range(index).end();
        }
        true
    }

    /// Notes that nothing is monitored any more in the entry that begins at
    /// `start`.
    pub fn set_idle(&mut self, start: usize, now: Instant) {
        let Some(index) = self.first(Range::between(start, start + 1)) else {
            return;
        };
        let place = &mut self.places.0[index as usize];
        place.idle_since.get_or_insert(now);
        if !std::mem::replace(&mut place.queued, true) {
            // Room was made by `reserve`.
            self.queue.push_back(index);
        }
    }

    /// The entry that became idle first, if it has been idle since `until` or
    /// longer.
    pub fn longest_idle(&mut self, until: Instant) -> Option<Range> {
        // Whoever became idle anew since it was queued goes to the end, once.
        for _ in 0..self.queue.len() {
            let index = self.queue.pop_front()?;
            let place = &mut self.places.0[index as usize];
            match place.idle_since {
                Some(since) if place.used && since <= until => {
                    place.queued = false;
                    return Some(self.range(index));
                }
                Some(_) if place.used => self.queue.push_back(index),
                _ => place.queued = false,
            }
        }
        None
    }

    /// Whether any entry may be idle.
    pub fn any_idle(&self) -> bool {
        !self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: usize, end: usize) -> Range {
        Range::between(start << 12, end << 12)
    }

    fn insert(registered: &mut Registered, mapping: Range) {
        registered.reserve().unwrap();
        registered.insert(mapping);
    }

    #[test]
    fn what_is_covered() {
        let mut registered = Registered::new();
        insert(&mut registered, range(1, 3));
        insert(&mut registered, range(3, 5));
        insert(&mut registered, range(8, 9));
        assert!(registered.covers(range(1, 5)) && registered.covers(range(2, 4)));
        assert!(!registered.covers(range(4, 6)) && !registered.covers(range(0, 2)));
        assert!(!registered.covers(range(1, 9)));
        assert_eq!(registered.count(), 3);
    }

    #[test]
    fn a_mapping_that_grew_takes_the_place_of_its_parts() {
        let mut registered = Registered::new();
        insert(&mut registered, range(1, 3));
        insert(&mut registered, range(3, 5));
        insert(&mut registered, range(1, 8));
        assert_eq!(registered.count(), 1);
        assert_eq!(registered.find(range(7, 8)), Some(range(1, 8)));
        assert_eq!(registered.take(range(0, 2)), Some(range(1, 8)));
        assert_eq!(registered.take(range(0, 9)), None);
    }

    #[test]
    fn what_is_displaced_in_part_is_to_be_looked_at() {
        let mut registered = Registered::new();
        insert(&mut registered, range(1, 4));
        insert(&mut registered, range(1, 4));
        insert(&mut registered, range(0, 5));
        assert_eq!(registered.take_doubts().next(), None);
        insert(&mut registered, range(2, 3));
        assert_eq!(registered.count(), 1);
        assert!(registered.take_doubts().eq([range(0, 5)]));
        assert_eq!(registered.take_doubts().next(), None);
        insert(&mut registered, range(7, 9));
        registered.forget(range(2, 8));
        assert_eq!(registered.count(), 0);
        assert!(registered.take_doubts().eq([range(7, 9)]));
        for number in 1..=DOUBTS + 1 {
            registered.doubt(range(number, number + 1));
        }
        let taken: Vec<_> = registered.take_doubts().collect();
        assert_eq!(taken.len(), DOUBTS);
        assert_eq!(taken[DOUBTS - 1], range(DOUBTS, DOUBTS + 2));
    }

    #[test]
    fn idle_ones_are_let_go_in_order() {
        let mut registered = Registered::new();
        for start in [1, 5, 9] {
            insert(&mut registered, range(start, start + 2));
        }
        registered.set_idle(9 << 12, 10);
        registered.set_idle(1 << 12, 20);
        assert_eq!(registered.longest_idle(9), None);
        assert_eq!(registered.longest_idle(30), Some(range(9, 11)));
        // Used again, then idle again: counts from then on.
        assert!(registered.covers(range(1, 2)));
        assert_eq!(registered.longest_idle(30), None);
        registered.set_idle(1 << 12, 40);
        assert_eq!(registered.longest_idle(30), None);
        assert!(registered.any_idle());
        assert_eq!(registered.longest_idle(40), Some(range(1, 3)));
        assert!(!registered.any_idle());
    }

    #[test]
    fn places_serve_again() {
        let mut registered = Registered::new();
        for round in 0..100 {
            insert(&mut registered, range(1, 3));
            registered.set_idle(1 << 12, round);
            assert!(registered.take(range(1, 3)).is_some());
        }
        assert_eq!(registered.places.0.len(), 1);
        assert!(registered.queue.len() <= 1);
    }
}
