// SPDX-License-Identifier: MIT OR Apache-2.0
//! Removing: what falls below a third is joined with a neighbour, or filled up
//! from it.

use super::node::{Columns, Inner, Leaf};
use super::{Key, Kind, Path, Tree};
use crate::interval_tree::NIL;

/// Two neighbours are joined when that leaves so much room: the next insertion
/// is not to split them again.
const LEFT_OVER: usize = 4;

impl Tree {
    /// Removes the range of `entry`, which starts at `start`.
    pub fn remove(&mut self, start: usize, entry: u32) {
        let key = Key { start, entry };
        assert!(self.root != NIL, "a range to be removed is in the tree");
        let path = self.way_to(key);
        let leaf = self.leaf_mut(path.leaf);
        let at = leaf.below(key);
        assert!(
            at < leaf.count() && leaf.key(at) == key,
            "a range to be removed is in the tree"
        );
        let end = leaf.end(at);
        leaf.close(at, 1);
        let left = leaf.count();
        self.lower(&path, end);
        if left < Leaf::LEAST {
            self.fill_up(&path, left);
        }
    }

    /// Corrects the highest ends on the way to a leaf that lost a range which
    /// ended at `end`.
    #[inline(always)]
    fn lower(&mut self, path: &Path, end: usize) {
        let mut below = None;
        for &(node, at) in path.steps[..self.levels].iter().rev() {
            let at = at as usize;
            // If it was not the highest here, it was not above.
            if self.inner(node).max_ends[at] != end {
                return;
            }
            let highest = match below {
                None => self.leaf(path.leaf).highest(),
                Some(inner) => self.inner(inner).highest(),
            };
            self.inner_mut(node).max_ends[at] = highest;
            if highest == end {
                return;
            }
            below = Some(node);
        }
    }

    /// Restores the shape after a removal that left a leaf with `left` ranges,
    /// too few.
    #[cold]
    fn fill_up(&mut self, path: &Path, left: usize) {
        let mut steps = path.steps[..self.levels].iter().rev();
        let Some(&(above, at)) = steps.next() else {
            // The root may hold as few as it likes.
            if left == 0 {
                self.longest = 0;
            }
            return;
        };
        let mut joined = self.join_or_level_out::<Leaf>(above, at as usize);
        let mut node = above;
        for &(above, at) in steps {
            if !joined || self.inner(node).count() >= Inner::LEAST {
                return;
            }
            joined = self.join_or_level_out::<Inner>(above, at as usize);
            node = above;
        }
        if self.inner(self.root).count() == 1 {
            let root = self.root;
            self.root = self.inner(root).children[0];
            self.levels -= 1;
            self.give_node(root);
        }
    }

    /// Joins the `at`th child of `above` with a neighbour, or fills it up from
    /// there; whether `above` has a child less.
    fn join_or_level_out<N: Kind>(&mut self, above: u32, at: usize) -> bool {
        let inner = self.inner(above);
        debug_assert!(inner.count() > 1);
        let at = if at + 1 < inner.count() { at } else { at - 1 };
        let (left, right) = (inner.children[at], inner.children[at + 1]);
        let (l, r) = self.pair::<N>(left, right);
        let (had, more) = (l.count(), r.count());
        if had + more + LEFT_OVER > N::ROOM {
            self.level_out::<N>(above, at);
            return false;
        }
        l.open(had, more);
        r.copy(0, more, l, had);
        self.give_node(right);
        let inner = self.inner_mut(above);
        inner.max_ends[at] = inner.max_ends[at].max(inner.max_ends[at + 1]);
        inner.close(at + 1, 1);
        true
    }
}
