// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's interval tree, over nodes that live in their own objects.

use core::ptr::NonNull;
use kernel::{bindings, ffi::c_ulong, types::Opaque};

/// A node: an interval of addresses, ends included.
///
/// All zeroes is a valid node that is in no tree.
#[repr(transparent)]
pub(crate) struct Node(Opaque<bindings::interval_tree_node>);

impl Node {
    /// First and last point of the interval that the node was last inserted with.
    pub(crate) fn bounds(&self) -> (u64, u64) {
        let node = self.0.get();
        // SAFETY: `start` and `last` are initialised (a node starts as all zeroes) and are written
        // by `IntervalTree::insert` only, whose caller holds the lock that our caller holds.
        unsafe { ((*node).start as u64, (*node).last as u64) }
    }
}

/// A tree of [`Node`]s.
///
/// # Invariants
///
/// Every node that is linked into `root` was put there by [`IntervalTree::insert`], is alive, and
/// stays at its address until [`IntervalTree::remove`].
pub(crate) struct IntervalTree {
    root: bindings::rb_root_cached,
}

// SAFETY: The tree is a set of pointers to nodes that are not bound to a thread; whoever owns the
// tree has exclusive access to the links in the nodes.
unsafe impl Send for IntervalTree {}

impl IntervalTree {
    /// An empty tree.
    pub(crate) const fn new() -> Self {
        // INVARIANT: No node is linked.
        Self {
            root: bindings::rb_root_cached {
                rb_root: bindings::rb_root {
                    rb_node: core::ptr::null_mut(),
                },
                rb_leftmost: core::ptr::null_mut(),
            },
        }
    }

    /// Whether the tree holds no node.
    pub(crate) fn is_empty(&self) -> bool {
        self.root.rb_root.rb_node.is_null()
    }

    /// Inserts `node` as the interval `start..=last`.
    ///
    /// # Safety
    ///
    /// - `node` is in no tree, and `start <= last`.
    /// - `node` stays at its address until it is removed from this tree, or this tree is dropped
    ///   or forgotten without being used again.
    pub(crate) unsafe fn insert(&mut self, node: &Node, start: u64, last: u64) {
        let raw = node.0.get();
        // SAFETY: The node is in no tree, so nothing else reads these fields; `Opaque` allows
        // writing through a shared reference.
        unsafe {
            (*raw).start = start as c_ulong;
            (*raw).last = last as c_ulong;
        }
        // INVARIANT: The caller promises that the node lives and stays.
        // SAFETY: `raw` is a valid node in no tree and `root` a valid tree to which we have
        // exclusive access.
        unsafe { bindings::interval_tree_insert(raw, &mut self.root) };
    }

    /// Removes `node`.
    ///
    /// # Safety
    ///
    /// `node` is in this tree.
    pub(crate) unsafe fn remove(&mut self, node: &Node) {
        // SAFETY: By the type invariants all neighbours of the node are alive; access to the tree
        // is exclusive.
        unsafe { bindings::interval_tree_remove(node.0.get(), &mut self.root) };
    }

    /// Finds a node that overlaps `start..=last`: the one with the lowest start.
    pub(crate) fn first_overlap(&mut self, start: u64, last: u64) -> Option<NonNull<Node>> {
        // SAFETY: By the type invariants all nodes are alive; access to the tree is exclusive.
        let node = unsafe {
            bindings::interval_tree_iter_first(&mut self.root, start as c_ulong, last as c_ulong)
        };
        // `Node` is a transparent wrapper around `interval_tree_node`.
        NonNull::new(node.cast())
    }
}
