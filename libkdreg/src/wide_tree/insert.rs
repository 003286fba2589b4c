// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inserting: full nodes are met on the way down, so that a split finds room
//! above.

use super::node::{Columns, Inner, LEAF, Leaf, Span};
use super::{Key, Kind, Tree};
use crate::interval_tree::NIL;
use crate::range::Range;

/// A leaf's neighbour must have so much room to be given anything.
const WORTHWHILE: usize = 4;

impl Tree {
    /// Stores a range for `entry`. The entry has none, and memory for one more
    /// range was committed.
    pub fn insert(&mut self, range: Range, entry: u32) {
        let key = Key {
            start: range.start(),
            entry,
        };
        self.longest = self.longest.max(range.len());
        if self.root == NIL {
            self.root = self.take_node();
            *self.leaf_mut(self.root) = Leaf::EMPTY;
        }
        self.grow_if_full();
        let span = Span::of(range.len());
        let end = span.end(key.start);
        let mut node = self.root;
        // Whether all so far are the last on their levels.
        let mut last = true;
        for above_leaf in (0..self.levels).rev() {
            let mut at = self.inner(node).toward(key);
            last = last && at + 1 == self.inner(node).count();
            let child = self.inner(node).children[at];
            self.fetch(child);
            if above_leaf > 0 {
                if self.inner(child).count() == Inner::ROOM {
                    self.split::<Inner>(node, at, Inner::ROOM / 2);
                    at = self.inner(node).toward(key);
                }
            } else if self.leaf(child).count() == LEAF {
                at = self.relieve(node, at, key, last);
            }
            let inner = self.inner_mut(node);
            inner.max_ends[at] = inner.max_ends[at].max(end);
            node = inner.children[at];
        }
        let leaf = self.leaf_mut(node);
        let at = leaf.below(key);
        leaf.insert(at, key, span);
    }

    /// Puts a new root above a full one, and splits that.
    fn grow_if_full(&mut self) {
        let full = match self.levels {
            0 => self.leaf(self.root).count() == LEAF,
            _ => self.inner(self.root).count() == Inner::ROOM,
        };
        if !full {
            return;
        }
        let below = self.root;
        let highest = match self.levels {
            0 => self.leaf(below).highest(),
            _ => self.inner(below).highest(),
        };
        let root = self.take_node();
        let inner = self.inner_mut(root);
        *inner = Inner::EMPTY;
        // Below every key.
        inner.insert(0, Key { start: 0, entry: 0 }, below, highest);
        (self.root, self.levels) = (root, self.levels + 1);
        if self.levels > 1 {
            self.split::<Inner>(root, 0, Inner::ROOM / 2);
        }
        // A full leaf is relieved on the way down.
    }

    /// Makes room where `key` belongs, in a full leaf, the `at`th below
    /// `above`; returns where it belongs now. `last`: the leaf is the last of
    /// the tree.
    #[cold]
    fn relieve(&mut self, above: u32, at: usize, key: Key, last: bool) -> usize {
        let inner = self.inner(above);
        let room = |at: usize| LEAF - self.leaf(inner.children[at]).count();
        let left = if at > 0 { room(at - 1) } else { 0 };
        let right = if at + 1 < inner.count() {
            room(at + 1)
        } else {
            0
        };
        if left.max(right) >= WORTHWHILE {
            self.level_out::<Leaf>(above, if left >= right { at - 1 } else { at });
        } else {
            let child = self.leaf(inner.children[at]);
            if last && child.key(LEAF - 1) < key {
                // Appended: what is full stays full.
                let right = self.take_node();
                *self.leaf_mut(right) = Leaf::EMPTY;
                self.inner_mut(above).insert(at + 1, key, right, 0);
            } else {
                self.split::<Leaf>(above, at, LEAF / 2 + 1);
            }
        }
        self.inner(above).toward(key)
    }

    /// Splits the `at`th child of `above`, leaving it `keep`.
    fn split<N: Kind>(&mut self, above: u32, at: usize, keep: usize) {
        let left = self.inner(above).children[at];
        let right = self.take_node();
        let (l, r) = self.pair::<N>(left, right);
        let moved = l.count() - keep;
        r.clear();
        r.open(0, moved);
        l.copy(keep, moved, r, 0);
        l.close(keep, moved);
        let bound = r.key(0);
        let (low, high) = (l.highest(), r.highest());
        let inner = self.inner_mut(above);
        inner.max_ends[at] = low;
        inner.insert(at + 1, bound, right, high);
    }

    /// Spreads what the `at`th child of `above` and the next hold evenly.
    pub(super) fn level_out<N: Kind>(&mut self, above: u32, at: usize) {
        let children = self.inner(above).children;
        let (l, r) = self.pair::<N>(children[at], children[at + 1]);
        let (have, target) = (l.count(), (l.count() + r.count()) / 2);
        if have > target {
            let moved = have - target;
            r.open(0, moved);
            l.copy(target, moved, r, 0);
            l.close(target, moved);
        } else {
            let moved = target - have;
            l.open(have, moved);
            r.copy(0, moved, l, have);
            r.close(0, moved);
        }
        let bound = r.key(0);
        let (low, high) = (l.highest(), r.highest());
        let inner = self.inner_mut(above);
        (inner.max_ends[at], inner.max_ends[at + 1]) = (low, high);
        inner.set_bound(at + 1, bound);
    }
}
