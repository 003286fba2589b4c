// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inserting: full nodes are met on the way down, so that a split finds room
//! above.

use super::node::{Columns, Inner, LEAF, Leaf, Span};
use super::{Key, Kind, Tree};
use crate::interval_tree::NIL;
use crate::range::{Range, USER_END};

/// A node's neighbour must have so much room to be given anything.
const WORTHWHILE: usize = 4;

impl Tree {
    /// Stores a range for `entry`. The entry has none, and memory for one more
    /// range was committed.
    ///
    /// # Panics
    /// When the range ends beyond user space once its length is rounded up to
    /// 4 KiB, as it is stored: that of one that starts at a page does not.
    pub fn insert(&mut self, range: Range, entry: u32) {
        let key = Key {
            start: range.start(),
            entry,
        };
        let span = Span::of(range.len());
        let end = span.end(key.start);
        assert!(
            end <= USER_END || range.len() > Span::LONGEST,
            "a range ends within user space"
        );
        self.longest = self.longest.max(range.len());
        if self.root == NIL {
            self.root = self.take_node();
            *self.leaf_mut(self.root) = Leaf::EMPTY;
        }
        self.grow_if_full();
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
                    at = self.relieve::<Inner>(node, at, key, last);
                }
            } else if self.leaf(child).count() == LEAF {
                at = self.relieve::<Leaf>(node, at, key, last);
            }
            // Relieving may have led to one before the last.
            last = last && at + 1 == self.inner(node).count();
            let inner = self.inner_mut(node);
            inner.max_ends[at] = inner.max_ends[at].max(end);
            node = inner.children[at];
        }
        let leaf = self.leaf_mut(node);
        let at = leaf.below(key);
        leaf.insert(at, key, span);
    }

    /// Puts a new root above a full one.
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
        // The full one is relieved on the way down.
    }

    /// Makes room where `key` belongs, in a full node, the `at`th below
    /// `above`; returns where it belongs now. `last`: the node is the last on
    /// its level.
    #[cold]
    fn relieve<N: Kind>(&mut self, above: u32, at: usize, key: Key, last: bool) -> usize {
        let inner = self.inner(above);
        let node = |at: usize| self.node::<N>(inner.children[at]);
        let room = |at: usize| N::ROOM - node(at).count();
        let left = if at > 0 { room(at - 1) } else { 0 };
        let right = if at + 1 < inner.count() {
            room(at + 1)
        } else {
            0
        };
        // Keys in ascending order are to leave full nodes behind.
        let appended = last && node(at).key(N::ROOM - 1) < key;
        if left.max(right) >= WORTHWHILE {
            if appended {
                self.spread::<N>(above, at - 1, N::ROOM);
            } else {
                self.level_out::<N>(above, if left >= right { at - 1 } else { at });
            }
        } else if !appended {
            self.split::<N>(above, at, N::ROOM.div_ceil(2));
        } else if N::LAST_MAY_BE_EMPTY {
            let right = self.take_node();
            self.node_mut::<N>(right).clear();
            self.inner_mut(above).insert(at + 1, key, right, 0);
        } else {
            self.split::<N>(above, at, N::ROOM - N::LEAST);
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
        let half = (l.count() + r.count()) / 2;
        self.spread::<N>(above, at, half);
    }

    /// Has the `at`th child of `above` hold `target`, and the next what is left
    /// of what the two hold.
    fn spread<N: Kind>(&mut self, above: u32, at: usize, target: usize) {
        let children = self.inner(above).children;
        let (l, r) = self.pair::<N>(children[at], children[at + 1]);
        let have = l.count();
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
