// SPDX-License-Identifier: MIT OR Apache-2.0
//! A wide interval tree: ranges sorted by start in nodes of eight cache lines,
//! every node knowing the highest end below.
//!
//! It answers what `interval_tree` answers, within the same bounds - inserting
//! and removing O(log n), visiting the k ranges that overlap a query
//! O(log n + k) however they nest - and touches few cache lines doing so: a
//! tree of 100,000 ranges is four levels high, and all but the lowest stay in
//! the processor's caches. It pays with memory of its own, in which it keeps
//! copies of the ranges, where the other tree only links records that exist
//! anyway.
//!
//! Nodes come from a reservation that [`TreeMemory::commit`] makes usable
//! ahead, outside the owner's lock: inserting and removing allocate nothing.
//!
//! # Shape
//! All leaves are on one level. Every node but the root and the last leaf is
//! a third full at least: a node that falls below is joined with
//! a neighbour or filled up from it. A full node gives to its neighbours
//! before it is split, and what is appended to the tree leaves full nodes
//! behind: programs tend to register in the order of addresses, and then
//! 100,000 ranges are a level less than they would be in halves.

mod insert;
mod node;
mod query;
mod remove;
#[cfg(test)]
mod tests;

use crate::errno::Errno;
use crate::interval_tree::NIL;
use crate::memory::Share;
use crate::prefetch::prefetch;
use crate::reservation::{OnFork, Reservation, Zeroed};
use node::{Columns, Inner, Leaf, Node};
use std::cell::UnsafeCell;

/// Levels of inner nodes at most: six children each would hold 2^33 leaves.
const HIGHEST: usize = 14;

/// Nodes that `ranges` ranges can need: leaves of ten, above them nodes of six,
/// and a few that may hold less.
const fn nodes(ranges: usize) -> usize {
    ranges / 8 + HIGHEST + 2
}

/// How many ranges so many nodes suffice for.
const fn ranges(nodes: usize) -> usize {
    nodes.saturating_sub(HIGHEST + 2) * 8
}

#[repr(transparent)]
struct NodeCell(UnsafeCell<Node>);

// SAFETY: zero is a valid Node, and it owns nothing.
unsafe impl Zeroed for NodeCell {}
// SAFETY: reached only through `&self`/`&mut self` of the one `Tree`.
unsafe impl Sync for NodeCell {}
// SAFETY: plain data, not tied to a thread.
unsafe impl Send for NodeCell {}

/// Memory for a tree, committed outside the owner's lock.
pub(crate) struct TreeMemory(Share<Reservation<NodeCell>>);

impl TreeMemory {
    /// Room for `capacity` ranges, and the one tree in it.
    pub fn new(capacity: usize) -> Result<(TreeMemory, Tree), Errno> {
        let memory = Share::new(Reservation::new(nodes(capacity), OnFork::Copy)?)?;
        let tree = Tree {
            memory: memory.clone(),
            root: NIL,
            levels: 0,
            longest: 0,
            free: NIL,
            fresh: 0,
        };
        Ok((TreeMemory(memory), tree))
    }

    /// How many ranges there is room for.
    pub fn committed(&self) -> u32 {
        ranges(self.0.committed()) as u32
    }

    /// Makes room for `count` ranges.
    pub fn commit(&self, count: u32) -> Result<(), Errno> {
        self.0.commit(nodes(count as usize))
    }
}

/// What tells a stored range from every other, and its place among them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    start: usize,
    entry: u32,
}

/// See the module's documentation. A range is stored for an entry, a number of
/// the owner's.
pub(crate) struct Tree {
    memory: Share<Reservation<NodeCell>>,
    /// NIL: there never was a range.
    root: u32,
    /// Levels of inner nodes above the leaves.
    levels: usize,
    /// No range is longer. Grows only, until the tree is empty.
    longest: usize,
    /// Nodes that were given back.
    free: u32,
    /// Nodes never used so far begin here.
    fresh: u32,
}

/// The way down to a leaf.
struct Path {
    /// Inner nodes, the root first, and which child was taken.
    steps: [(u32, u32); HIGHEST],
    leaf: u32,
}

impl Tree {
    fn pointer(&self, node: u32) -> *mut Node {
        debug_assert!((node as usize) < self.memory.committed());
        // SAFETY: nodes are below `fresh`, which stays within what was
        // committed: see `take_node`.
        unsafe { self.memory.pointer_unchecked(node).cast() }
    }

    #[inline(always)]
    fn leaf(&self, node: u32) -> &Leaf {
        // SAFETY: the only tree on this memory, borrowed shared; any bytes are
        // a Leaf.
        unsafe { &(*self.pointer(node)).leaf }
    }

    #[inline(always)]
    fn leaf_mut(&mut self, node: u32) -> &mut Leaf {
        // SAFETY: as above, borrowed exclusively.
        unsafe { &mut (*self.pointer(node)).leaf }
    }

    #[inline(always)]
    fn inner(&self, node: u32) -> &Inner {
        // SAFETY: as for `leaf`.
        unsafe { &(*self.pointer(node)).inner }
    }

    #[inline(always)]
    fn inner_mut(&mut self, node: u32) -> &mut Inner {
        // SAFETY: as for `leaf_mut`.
        unsafe { &mut (*self.pointer(node)).inner }
    }

    /// Either, by its kind.
    #[inline(always)]
    fn node<N: Kind>(&self, node: u32) -> &N {
        // SAFETY: as for `leaf`; a node of either kind is one of the other.
        unsafe { &*N::of(self.pointer(node)) }
    }

    #[inline(always)]
    fn node_mut<N: Kind>(&mut self, node: u32) -> &mut N {
        // SAFETY: as for `leaf_mut`; a node of either kind is one of the other.
        unsafe { &mut *N::of(self.pointer(node)) }
    }

    /// Has the processor fetch a node, all of whose lines are asked for at once
    /// that way, and not as a search gets to them.
    #[inline(always)]
    fn fetch(&self, node: u32) {
        for line in 0..size_of::<Node>() / 64 {
            prefetch(self.pointer(node).cast::<u8>().wrapping_add(line * 64));
        }
    }

    /// Two neighbours, both leaves or both inner nodes.
    fn pair<N: Kind>(&mut self, left: u32, right: u32) -> (&mut N, &mut N) {
        assert_ne!(left, right);
        // SAFETY: as for `leaf_mut`; they are two.
        unsafe {
            (
                &mut *N::of(self.pointer(left)),
                &mut *N::of(self.pointer(right)),
            )
        }
    }

    /// A node nobody uses. What it holds is anything.
    fn take_node(&mut self) -> u32 {
        if self.free != NIL {
            let node = self.free;
            // SAFETY: ours alone; a free node holds the next one's number.
            self.free = unsafe { (*self.pointer(node)).free };
            return node;
        }
        // The owner committed for as many ranges as it has; `nodes` says why
        // that is enough. A mistake there must not become a stray write.
        assert!((self.fresh as usize) < self.memory.committed());
        self.fresh += 1;
        self.fresh - 1
    }

    fn give_node(&mut self, node: u32) {
        let next = self.free;
        // SAFETY: the only tree on this memory, borrowed exclusively, and
        // nothing leads to the node any more.
        unsafe { (*self.pointer(node)).free = next };
        self.free = node;
    }

    /// The way to the leaf that `key` belongs to.
    #[inline(always)]
    fn way_to(&self, key: Key) -> Path {
        let mut path = Path {
            steps: [(NIL, 0); HIGHEST],
            leaf: self.root,
        };
        for step in &mut path.steps[..self.levels] {
            let inner = self.inner(path.leaf);
            let at = inner.toward(key);
            *step = (path.leaf, at as u32);
            path.leaf = inner.children[at];
            self.fetch(path.leaf);
        }
        path
    }
}

/// A kind of node that is its own view of a [`Node`].
trait Kind: Columns {
    /// Whether the last node on the level may hold fewer than `LEAST`.
    const LAST_MAY_BE_EMPTY: bool;

    fn of(node: *mut Node) -> *mut Self;
}

impl Kind for Leaf {
    const LAST_MAY_BE_EMPTY: bool = true;

    fn of(node: *mut Node) -> *mut Leaf {
        node.cast()
    }
}

impl Kind for Inner {
    /// A node without children would lead nowhere.
    const LAST_MAY_BE_EMPTY: bool = false;

    fn of(node: *mut Node) -> *mut Inner {
        node.cast()
    }
}
