// SPDX-License-Identifier: MIT OR Apache-2.0
//! An augmented AVL tree of address ranges over index-linked nodes.
//!
//! Nodes live wherever the owner keeps them (an array that never moves); the
//! tree only links them by index, so inserting and removing allocate nothing.
//! Ranges may overlap and nest in any way. With n ranges stored, insertion and
//! removal are O(log n); visiting the k ranges that overlap a query is
//! O(log n + k), because every subtree knows the highest end inside it.

use std::ops::ControlFlow;

/// "No node".
pub(crate) const NIL: u32 = u32::MAX;

/// No path down is longer: an AVL tree of 2^32 nodes is at most 46 levels high.
const HIGHEST: usize = 48;

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
        let mut path = [NIL; HIGHEST];
        let mut depth = 0;
        let mut left = false;
        let mut at = self.root;
        while at != NIL {
            path[depth] = at;
            depth += 1;
            let node = nodes.node_mut(at);
            node.max_end = node.max_end.max(end);
            left = (start, index) < (node.start, at);
            at = if left { node.left } else { node.right };
        }
        match path[..depth].last() {
            None => self.root = index,
            Some(&above) if left => nodes.node_mut(above).left = index,
            Some(&above) => nodes.node_mut(above).right = index,
        }
        // Where the height stays, there is nothing to balance further up, and
        // the siblings, which are cache lines of their own, are left alone.
        while depth > 0 {
            depth -= 1;
            if !self.rebalance(nodes, &path[..=depth]) {
                break;
            }
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
        let mut path = [NIL; HIGHEST];
        let mut place = 0;
        let mut at = self.root;
        while at != index {
            assert!(at != NIL, "a node to be removed is in the tree");
            path[place] = at;
            place += 1;
            let node = nodes.node(at);
            let below = (start, index) < (node.start, at);
            at = if below { node.left } else { node.right };
        }
        // What the nodes on the path below `depth` have below them no more.
        let mut lost = end;
        let mut depth = place;
        if left == NIL || right == NIL {
            let rest = if left == NIL { right } else { left };
            self.replace(nodes, &path[..place], index, rest);
        } else {
            // The next in order takes its place, and its height for now.
            depth += 1;
            let mut successor = right;
            loop {
                let next = nodes.node(successor).left;
                if next == NIL {
                    break;
                }
                path[depth] = successor;
                depth += 1;
                successor = next;
            }
            path[place] = successor;
            let rest = nodes.node(successor).right;
            lost = nodes.node(successor).end;
            let height = nodes.height(index);
            nodes.set_height(successor, height);
            if successor == right {
                nodes.node_mut(successor).right = rest;
            } else {
                nodes.node_mut(path[depth - 1]).left = rest;
                nodes.node_mut(successor).right = right;
            }
            nodes.node_mut(successor).left = left;
            self.replace(nodes, &path[..place], index, successor);
        }
        let mut shrank = true;
        while depth > 0 {
            depth -= 1;
            let at = path[depth];
            if depth == place {
                // The successor, which knows nothing of its new subtree yet.
                lost = end;
                shrank = self.rebalance(nodes, &path[..=depth]);
            } else if shrank {
                shrank = self.rebalance(nodes, &path[..=depth]);
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

    /// Has what lies above, the last of `path`, lead to `new` and not to `old`.
    fn replace(&mut self, nodes: &mut impl Nodes, path: &[u32], old: u32, new: u32) {
        match path.last() {
            None => self.root = new,
            Some(&above) => {
                let node = nodes.node_mut(above);
                *(if node.left == old {
                    &mut node.left
                } else {
                    &mut node.right
                }) = new;
            }
        }
    }

    /// Restores the balance of the last of `path`, below which all is balanced;
    /// whether the height of its subtree changed.
    fn rebalance(&mut self, nodes: &mut impl Nodes, path: &[u32]) -> bool {
        let Some((&at, above)) = path.split_last() else {
            return false;
        };
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
        let mut path = [NIL; HIGHEST];
        let mut depth = 0;
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
                    path[depth] = at;
                    depth += 1;
                }
                at = node.left;
            }
            if depth == 0 {
                return ControlFlow::Continue(());
            }
            depth -= 1;
            let node = nodes.node(path[depth]);
            at = node.right;
            if node.end > start {
                visit(path[depth])?;
            }
        }
    }
}

#[cfg(test)]
fn key(nodes: &impl Nodes, index: u32) -> (usize, u32) {
    (nodes.node(index).start, index)
}

fn height(nodes: &impl Nodes, index: u32) -> u8 {
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
    let tallest = height(nodes, left).max(height(nodes, right)) + 1;
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
    let (tall_left, tall_right) = (height(nodes, left), height(nodes, right));
    if tall_left > tall_right + 1 {
        let Node {
            left: outer,
            right: inner,
            ..
        } = *nodes.node(left);
        if height(nodes, inner) > height(nodes, outer) {
            nodes.node_mut(index).left = rotate_left(nodes, left);
        }
        rotate_right(nodes, index)
    } else if tall_right > tall_left + 1 {
        let Node {
            left: inner,
            right: outer,
            ..
        } = *nodes.node(right);
        if height(nodes, inner) > height(nodes, outer) {
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
