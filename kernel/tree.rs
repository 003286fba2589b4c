// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's interval tree, over nodes that live in their own objects.
//!
//! Searching and removing are the kernel's. Inserting does what `interval_tree_insert` does, in
//! about half the instructions, since most of what it does on its way down is rarely needed:
//!
//! * The bound of a subtree (`__subtree_last`) is raised on the way back up and only as far as it
//!   changes. Among regions that do not overlap that is a step or two, not all the way.
//! * Whether the node becomes the leftmost one is seen from its parent.
//! * A node whose parent is black needs no balancing, so the call for that is left out.

use core::ptr::{null_mut, NonNull};
use kernel::{bindings, container_of, ffi::c_ulong, types::Opaque};

/// A node as C sees it.
type Raw = bindings::interval_tree_node;
type Link = bindings::rb_node;

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
/// stays at its address until [`IntervalTree::remove`]. The links are those of a red-black tree
/// ordered by `start`, `rb_leftmost` is its first node, and `__subtree_last` of each node is the
/// highest `last` at and below it.
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
    #[inline]
    pub(crate) unsafe fn insert(&mut self, node: &Node, start: u64, last: u64) {
        let (start, last) = (start as c_ulong, last as c_ulong);
        let root = &raw mut self.root;
        // INVARIANT: The caller promises that the node lives and stays. It goes where the order
        // wants it, as a red leaf; just below the bounds of the nodes above it are raised to its
        // own, and the colours are put right.
        //
        // SAFETY: The node is in no tree, so nothing else reads or writes it; `Opaque` allows
        // writing through a shared reference. By the type invariants all other nodes are alive, and
        // access to the tree is exclusive.
        unsafe {
            let raw = node.0.get();
            let link = &raw mut (*raw).rb;
            (*raw).start = start;
            (*raw).last = last;
            (*raw).__subtree_last = last;
            (*link).rb_left = null_mut();
            (*link).rb_right = null_mut();
            let mut parent = (*root).rb_root.rb_node;
            if parent.is_null() {
                (*link).__rb_parent_color = BLACK;
                (*root).rb_root.rb_node = link;
                (*root).rb_leftmost = link;
                return;
            }
            // Two ways out, so that the direction need not be remembered.
            'down: loop {
                while start >= (*of(parent)).start {
                    let right = (*parent).rb_right;
                    if right.is_null() {
                        (*parent).rb_right = link;
                        break 'down;
                    }
                    parent = right;
                }
                let left = (*parent).rb_left;
                if left.is_null() {
                    (*parent).rb_left = link;
                    if (*root).rb_leftmost == parent {
                        (*root).rb_leftmost = link;
                    }
                    break 'down;
                }
                parent = left;
            }
            (*link).__rb_parent_color = parent as c_ulong | RED;
            let mut above = parent;
            while (*of(above)).__subtree_last < last {
                (*of(above)).__subtree_last = last;
                above = ((*above).__rb_parent_color & !COLOR) as *mut Link;
                if above.is_null() {
                    break;
                }
            }
            if (*parent).__rb_parent_color & COLOR == RED {
                __rb_insert_augmented(link, &raw mut (*root).rb_root, rotate);
            }
        }
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

// How `rbtree_augmented.h` keeps a node's colour beside its parent.
const COLOR: c_ulong = 1;
const RED: c_ulong = 0;
const BLACK: c_ulong = 1;

/// The node that `link` is the link of.
///
/// # Safety
///
/// `link` points to the `rb` of a node.
unsafe fn of(link: *mut Link) -> *mut Raw {
    // SAFETY: By the requirement it is a field of such a structure.
    unsafe { container_of!(link, Raw, rb) }
}

/// `new` takes the place of `old`, which becomes its child.
///
/// # Safety
///
/// Called by `__rb_insert_augmented`, with two nodes of the tree it was called for.
unsafe extern "C" fn rotate(old: *mut Link, new: *mut Link) {
    // SAFETY: These nodes and the children of `old` are in a tree, so they are alive, and whoever
    // called for the insertion has exclusive access to them.
    unsafe {
        let (old, new) = (of(old), of(new));
        (*new).__subtree_last = (*old).__subtree_last;
        let mut last = (*old).last;
        for child in [(*old).rb.rb_left, (*old).rb.rb_right] {
            if !child.is_null() {
                last = last.max((*of(child)).__subtree_last);
            }
        }
        (*old).__subtree_last = last;
    }
}

extern "C" {
    // Exported; not among the generated bindings.
    fn __rb_insert_augmented(
        node: *mut Link,
        root: *mut bindings::rb_root,
        rotate: unsafe extern "C" fn(*mut Link, *mut Link),
    );
}
