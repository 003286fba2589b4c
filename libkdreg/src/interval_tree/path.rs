// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way from a tree's root to one of its nodes.

use std::mem::MaybeUninit;

/// No path down is longer: an AVL tree of 2^32 nodes is at most 46 levels high.
const HIGHEST: usize = 48;

/// Room for a path. Not cleared before it is used, which would take as long as most
/// of what is done with it.
pub(super) struct Room([MaybeUninit<u32>; HIGHEST]);

impl Room {
    #[inline(always)]
    pub fn new() -> Room {
        Room([MaybeUninit::uninit(); HIGHEST])
    }
}

/// The nodes that were gone through, the root first. Apart from its room, so that the
/// depth stays in a register.
pub(super) struct Path<'a> {
    nodes: &'a mut [MaybeUninit<u32>; HIGHEST],
    /// So many of them were written.
    depth: usize,
}

impl Path<'_> {
    #[inline(always)]
    pub fn new(room: &mut Room) -> Path<'_> {
        Path {
            nodes: &mut room.0,
            depth: 0,
        }
    }

    #[inline(always)]
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// # Panics
    /// When the path is longer than any can be.
    #[inline(always)]
    pub fn push(&mut self, node: u32) {
        self.nodes[self.depth].write(node);
        self.depth += 1;
    }

    #[inline(always)]
    pub fn pop(&mut self) -> Option<u32> {
        let last = self.last()?;
        self.depth -= 1;
        Some(last)
    }

    #[inline(always)]
    pub fn last(&self) -> Option<u32> {
        let last = self.depth.checked_sub(1)?;
        // SAFETY: below `depth`, which is what was written, and in bounds.
        Some(unsafe { self.nodes.get_unchecked(last).assume_init() })
    }

    /// Has another node in the place of one that was pushed.
    #[inline]
    pub fn set(&mut self, place: usize, node: u32) {
        assert!(place < self.depth);
        self.nodes[place].write(node);
    }
}
