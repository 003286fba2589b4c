// SPDX-License-Identifier: MIT OR Apache-2.0
//! An augmented AVL tree of address ranges over index-linked nodes.
//!
//! Nodes live wherever the owner keeps them (an array that never moves); the
//! tree only links them by index, so inserting and removing allocate nothing.
//! Ranges may overlap and nest in any way. With n ranges stored, insertion and
//! removal are O(log n); visiting the k ranges that overlap a query is
//! O(log n + k), because every subtree knows the highest end inside it.

mod path;

use path::{Path, Room};
use std::ops::ControlFlow;

/// "No node".
pub(crate) const NIL: u32 = u32::MAX;

/// The links of one stored range. Plain data: all zero is a valid, unlinked node.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Node {
    /// First address of the range.
    pub start: usize,
    /// Address after the last.
    pub end: usize,
    /// The highest `end` in the subtree rooted here.
    max_end: usize,
    left: u32,
    right: u32,
}

impl Node {
    /// An unlinked node for `[start, end)`.
    pub fn new(start: usize, end: usize) -> Node {
        Node {
            start,
            end,
            ..Node::default()
        }
    }
}

/// What a node that is in no tree has room for.
#[derive(Debug)]
pub(crate) struct Loose<'a> {
    pub word: &'a mut usize,
    pub next: &'a mut u32,
    pub previous: &'a mut u32,
}

impl Node {
    /// The links of a node that is in no tree, for its owner to use.
    pub fn loose(&mut self) -> Loose<'_> {
        Loose {
            word: &mut self.max_end,
            next: &mut self.left,
            previous: &mut self.right,
        }
    }
}

/// Where the nodes are. `height` is kept beside the node because owners have
/// a spare byte for it and the node itself has none.
pub(crate) trait Nodes {
    fn node(&self, index: u32) -> &Node;
    fn node_mut(&mut self, index: u32) -> &mut Node;
    fn height(&self, index: u32) -> u8;
    fn set_height(&mut self, index: u32, height: u8);
}

/// The root of a tree. Equal ranges are told apart by their index.
#[derive(Debug)]
pub(crate) struct Tree {
    root: u32,
    /// No range is longer. Grows only, until the tree is empty.
    longest: usize,
}

impl Tree {
    pub const fn new() -> Tree {
        Tree {
            root: NIL,
            longest: 0,
        }
    }

    /// Links node `index`, whose `start` and `end` are set, into the tree.
    pub fn insert(&mut self, nodes: &mut impl Nodes, index: u32) {
        let node = nodes.node_mut(index);
        debug_assert!(node.start < node.end);
        (node.left, node.right, node.max_end) = (NIL, NIL, node.end);
        let (start, end) = (node.start, node.end);
        self.longest = self.longest.max(end - start);
        nodes.set_height(index, 1);
        let mut room = Room::new();
        let mut path = Path::new(&mut room);
        let mut right = false;
        let mut at = self.root;
        while at != NIL {
            path.push(at);
            let node = nodes.node_mut(at);
            node.max_end = node.max_end.max(end);
            right = follows((start, index), node, at);
            at = if right { node.right } else { node.left };
        }
        match path.last() {
            None => self.root = index,
            Some(above) if right => nodes.node_mut(above).right = index,
            Some(above) => nodes.node_mut(above).left = index,
        }
        // Of the siblings, which are cache lines of their own, only those are looked
        // at that this side is now higher than.
        let (mut below, mut height) = (index, 1);
        while let Some(at) = path.pop() {
            if nodes.height(at) > height {
                return;
            }
            let Node { left, right, .. } = *nodes.node(at);
            let sibling = if left == below { right } else { left };
            if height_of(nodes, sibling) + 1 < height {
                // As high as it was before, and so is all above.
                let top = balance(nodes, at);
                self.replace(nodes, path.last(), at, top);
                return;
            }
            height += 1;
            nodes.set_height(at, height);
            below = at;
        }
    }

    /// Unlinks node `index`, which is in the tree.
    pub fn remove(&mut self, nodes: &mut impl Nodes, index: u32) {
        let Node {
            start,
            end,
            left,
            right,
            ..
        } = *nodes.node(index);
        let mut room = Room::new();
        let mut path = Path::new(&mut room);
        let mut at = self.root;
        while at != index {
            assert!(at != NIL, "a node to be removed is in the tree");
            path.push(at);
            let node = nodes.node(at);
            let right = follows((start, index), node, at);
            at = if right { node.right } else { node.left };
        }
        let (place, above) = (path.depth(), path.last());
        // What the nodes on the path below `place` have below them no more.
        let mut lost = end;
        if left == NIL || right == NIL {
            let rest = if left == NIL { right } else { left };
            self.replace(nodes, above, index, rest);
        } else {
            // The next in order takes its place, and its height for now.
            path.push(index);
            let mut successor = right;
            loop {
                let next = nodes.node(successor).left;
                if next == NIL {
                    break;
                }
                path.push(successor);
                successor = next;
            }
            let rest = nodes.node(successor).right;
            lost = nodes.node(successor).end;
            let height = nodes.height(index);
            nodes.set_height(successor, height);
            if successor == right {
                nodes.node_mut(successor).right = rest;
            } else {
                self.replace(nodes, path.last(), successor, rest);
                nodes.node_mut(successor).right = right;
            }
            nodes.node_mut(successor).left = left;
            path.set(place, successor);
            self.replace(nodes, above, index, successor);
        }
        let mut shrank = true;
        while let Some(at) = path.pop() {
            let depth = path.depth();
            if depth == place {
                // The successor, which knows nothing of its new subtree yet.
                lost = end;
                shrank = self.rebalance(nodes, at, path.last());
            } else if shrank {
                shrank = self.rebalance(nodes, at, path.last());
            } else {
                // The highest end may have been the one that is gone. If it is
                // higher here, it is on the whole path up.
                let may_fall = nodes.node(at).max_end == lost;
                if may_fall {
                    refresh(nodes, at);
                }
                if depth < place && !(may_fall && nodes.node(at).max_end != lost) {
                    break;
                }
            }
        }
        if self.root == NIL {
            self.longest = 0;
        }
    }

    /// Has what lies above, if anything does, lead to `new` and not to `old`.
    fn replace(&mut self, nodes: &mut impl Nodes, above: Option<u32>, old: u32, new: u32) {
        let Some(above) = above else {
            self.root = new;
            return;
        };
        let node = nodes.node_mut(above);
        if node.left == old {
            node.left = new;
        } else {
            node.right = new;
        }
    }

    /// Restores the balance of a node, below which all is balanced; whether the
    /// height of its subtree changed.
    fn rebalance(&mut self, nodes: &mut impl Nodes, at: u32, above: Option<u32>) -> bool {
        let before = nodes.height(at);
        let top = balance(nodes, at);
        if top != at {
            self.replace(nodes, above, at, top);
        }
        nodes.height(top) != before
    }

    /// Calls `visit` for every stored range that overlaps `[start, end)`, in
    /// order of their starts, until it breaks.
    pub fn overlapping<B>(
        &self,
        nodes: &impl Nodes,
        start: usize,
        end: usize,
        visit: &mut impl FnMut(u32) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        // What starts at or below this ends too early, and so does all to the
        // left of it, which then need not even be looked at.
        let reach = start.saturating_sub(self.longest);
        // Nodes whose left subtree is being visited.
        let mut room = Room::new();
        let mut path = Path::new(&mut room);
        let mut at = self.root;
        loop {
            while at != NIL {
                let node = nodes.node(at);
                if node.max_end <= start {
                    break;
                }
                if node.start <= reach && reach != 0 {
                    at = node.right;
                    continue;
                }
                if node.start < end {
                    path.push(at);
                }
                at = node.left;
            }
            let Some(next) = path.pop() else {
                return ControlFlow::Continue(());
            };
            let node = nodes.node(next);
            at = node.right;
            if node.end > start {
                visit(next)?;
            }
        }
    }
}

#[cfg(test)]
fn key(nodes: &impl Nodes, index: u32) -> (usize, u32) {
    (nodes.node(index).start, index)
}

/// Whether a range comes after that of node `at`, which is another.
#[inline(always)]
fn follows((start, index): (usize, u32), node: &Node, at: u32) -> bool {
    if start == node.start {
        return follows_of_equal(index, at);
    }
    start > node.start
}

/// As `follows` where the starts are the same, which is seldom.
#[cold]
#[inline(never)]
fn follows_of_equal(index: u32, at: u32) -> bool {
    index > at
}

fn height_of(nodes: &impl Nodes, index: u32) -> u8 {
    if index == NIL { 0 } else { nodes.height(index) }
}

fn max_end(nodes: &impl Nodes, index: u32) -> usize {
    if index == NIL {
        0
    } else {
        nodes.node(index).max_end
    }
}

/// Recomputes what a node knows about its subtree from its children.
fn refresh(nodes: &mut impl Nodes, index: u32) {
    let Node { left, right, .. } = *nodes.node(index);
    let tallest = height_of(nodes, left).max(height_of(nodes, right)) + 1;
    refresh_as(nodes, index, tallest);
}

/// As `refresh`, for a node whose height is known.
fn refresh_as(nodes: &mut impl Nodes, index: u32, height: u8) {
    let Node {
        end, left, right, ..
    } = *nodes.node(index);
    let highest = end.max(max_end(nodes, left)).max(max_end(nodes, right));
    nodes.node_mut(index).max_end = highest;
    // At most `HIGHEST`.
    nodes.set_height(index, height);
}

fn rotate_right(nodes: &mut impl Nodes, index: u32) -> u32 {
    let top = nodes.node(index).left;
    nodes.node_mut(index).left = nodes.node(top).right;
    nodes.node_mut(top).right = index;
    refresh(nodes, index);
    refresh(nodes, top);
    top
}

fn rotate_left(nodes: &mut impl Nodes, index: u32) -> u32 {
    let top = nodes.node(index).right;
    nodes.node_mut(index).right = nodes.node(top).left;
    nodes.node_mut(top).left = index;
    refresh(nodes, index);
    refresh(nodes, top);
    top
}

/// Restores the AVL balance of one node whose children are balanced; returns
/// the subtree's new root.
fn balance(nodes: &mut impl Nodes, index: u32) -> u32 {
    let Node { left, right, .. } = *nodes.node(index);
    let (tall_left, tall_right) = (height_of(nodes, left), height_of(nodes, right));
    if tall_left > tall_right + 1 {
        let Node {
            left: outer,
            right: inner,
            ..
        } = *nodes.node(left);
        if height_of(nodes, inner) > height_of(nodes, outer) {
            nodes.node_mut(index).left = rotate_left(nodes, left);
        }
        rotate_right(nodes, index)
    } else if tall_right > tall_left + 1 {
        let Node {
            left: inner,
            right: outer,
            ..
        } = *nodes.node(right);
        if height_of(nodes, inner) > height_of(nodes, outer) {
            nodes.node_mut(index).right = rotate_right(nodes, right);
        }
        rotate_left(nodes, index)
    } else {
        refresh_as(nodes, index, tall_left.max(tall_right) + 1);
        index
    }
}

#[cfg(test)]
mod tests;
