// SPDX-License-Identifier: MIT OR Apache-2.0
//! The nodes of the wide tree: eight cache lines each, sorted columns.

use super::Key;

/// Bytes that a span is counted in.
const GRAIN: usize = 4096;

/// A length in grains, rounded up.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Span(u32);

impl Span {
    /// "At least so much": of more than 2^44 - 2^13 bytes.
    const ENDLESS: u32 = u32::MAX;

    /// The most bytes that are not endless.
    pub const LONGEST: usize = (Span::ENDLESS as usize - 1) * GRAIN;

    /// How many bytes, unless it is endless.
    #[inline(always)]
    pub fn bytes(self) -> usize {
        self.0 as usize * GRAIN
    }

    #[inline(always)]
    pub fn of(length: usize) -> Span {
        Span(u32::try_from(length.div_ceil(GRAIN)).unwrap_or(Span::ENDLESS))
    }

    /// Where a range ends that starts there; if it is endless, the end of all.
    #[inline(always)]
    pub fn end(self, start: usize) -> usize {
        match self.0 {
            Span::ENDLESS => usize::MAX,
            _ => start.saturating_add(self.bytes()),
        }
    }
}

/// Ranges in a leaf.
pub(super) const LEAF: usize = 31;

/// Children of an inner node.
pub(super) const INNER: usize = 20;

/// Parts of a node's starts, of which a search looks into one.
const BLOCKS: usize = 4;

/// What `starts` holds beyond `count`: above all starts of ranges.
pub(super) const NOWHERE: usize = usize::MAX >> 1;

/// A leaf: ranges in the order of their keys.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Leaf {
    pub starts: [usize; LEAF],
    pub count: u32,
    pub spans: [Span; LEAF],
    pub entries: [u32; LEAF],
}

/// An inner node: children, and of each a lower bound of its keys, which no
/// key to its left reaches, and the highest end below.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Inner {
    pub starts: [usize; INNER],
    pub count: u32,
    /// With `starts`, the lower bounds.
    pub entries: [u32; INNER],
    pub max_ends: [usize; INNER],
    pub children: [u32; INNER],
}

const _: () = assert!(size_of::<Leaf>() == 512 && size_of::<Inner>() == 512);

/// What both kinds of node can do with their columns.
pub(super) trait Columns {
    /// Full when it holds so many, and to be joined or filled up below that.
    const ROOM: usize;
    const LEAST: usize;

    fn count(&self) -> usize;
    /// Forgets what it holds.
    fn clear(&mut self);
    fn key(&self, at: usize) -> Key;
    /// How many starts are below `start`, which is `NOWHERE` at most.
    fn starts_below(&self, start: usize) -> usize;
    /// How many keys are below `key`.
    fn below(&self, key: Key) -> usize;
    /// The highest end of all.
    fn highest(&self) -> usize;
    /// Makes room for `more` at `at`; what is there now moves up.
    fn open(&mut self, at: usize, more: usize);
    /// Takes out `fewer` at `at`; what is above moves down.
    fn close(&mut self, at: usize, fewer: usize);
    /// Overwrites `many` of `other`, from `to` on, with what is here from
    /// `from` on.
    fn copy(&self, from: usize, many: usize, other: &mut Self, to: usize);
}

macro_rules! columns {
    ($node:ident, $room:expr, $least:expr, $($column:ident)*) => {
        impl Columns for $node {
            const ROOM: usize = $room;
            const LEAST: usize = $least;

            #[inline(always)]
            fn count(&self) -> usize {
                // The minimum tells the compiler what is so.
                (self.count as usize).min($room)
            }

            fn clear(&mut self) {
                *self = $node::EMPTY;
            }

            #[inline(always)]
            fn key(&self, at: usize) -> Key {
                Key {
                    start: self.starts[at],
                    entry: self.entries[at],
                }
            }

            #[inline(always)]
            fn below(&self, key: Key) -> usize {
                let mut at = self.starts_below(key.start);
                // Equal starts are rare.
                while at < self.count()
                    && self.starts[at] == key.start
                    && self.entries[at] < key.entry
                {
                    at += 1;
                }
                at
            }

            #[inline(always)]
            fn starts_below(&self, start: usize) -> usize {
                // In two looks, neither with a branch that could be mispredicted:
                // at what lies between the blocks, and at one block. Whether what
                // follows a block is below has been seen then.
                const STEP: usize = ($room as usize).div_ceil(BLOCKS);
                const LAST: usize = (BLOCKS - 1) * STEP;
                const BLOCK: usize = $room - LAST;
                const _: () = assert!(BLOCK >= STEP - 1);
                let below = |at: usize| usize::from(self.starts[at] < start);
                let blocks: usize = (1..BLOCKS).map(|block| below(block * STEP - 1)).sum();
                let from = (blocks * STEP).min(LAST);
                from + (from..from + BLOCK).map(below).sum::<usize>()
            }

            fn highest(&self) -> usize {
                (0..self.count()).map(|at| self.end(at)).max().unwrap_or(0)
            }

            #[inline(always)]
            fn open(&mut self, at: usize, more: usize) {
                let count = self.count();
                $(self.$column.copy_within(at..count, at + more);)*
                self.count += more as u32;
            }

            #[inline(always)]
            fn close(&mut self, at: usize, fewer: usize) {
                let count = self.count();
                $(self.$column.copy_within(at + fewer..count, at);)*
                self.starts[count - fewer..count].fill(NOWHERE);
                self.count -= fewer as u32;
            }

            fn copy(&self, from: usize, many: usize, other: &mut Self, to: usize) {
                $(other.$column[to..to + many].copy_from_slice(&self.$column[from..from + many]);)*
            }
        }
    };
}

columns!(Leaf, LEAF, 10, starts spans entries);
columns!(Inner, INNER, 6, starts entries max_ends children);

impl Leaf {
    pub const EMPTY: Leaf = Leaf {
        starts: [NOWHERE; LEAF],
        count: 0,
        spans: [Span(0); LEAF],
        entries: [0; LEAF],
    };

    /// Where a range ends, as far as its span says.
    #[inline(always)]
    pub fn end(&self, at: usize) -> usize {
        self.spans[at].end(self.starts[at])
    }

    #[inline(always)]
    pub fn insert(&mut self, at: usize, key: Key, span: Span) {
        self.open(at, 1);
        self.starts[at] = key.start;
        self.spans[at] = span;
        self.entries[at] = key.entry;
    }
}

impl Inner {
    pub const EMPTY: Inner = Inner {
        starts: [NOWHERE; INNER],
        count: 0,
        entries: [0; INNER],
        max_ends: [0; INNER],
        children: [0; INNER],
    };

    /// The highest end below a child.
    #[inline(always)]
    pub fn end(&self, at: usize) -> usize {
        self.max_ends[at]
    }

    /// The child that a key belongs to.
    #[inline(always)]
    pub fn toward(&self, key: Key) -> usize {
        let at = self.below(key);
        // A bound belongs to the child it bounds. The first bounds them all.
        if at < self.count() && self.key(at) == key {
            at
        } else {
            at.saturating_sub(1)
        }
    }

    pub fn insert(&mut self, at: usize, bound: Key, child: u32, highest: usize) {
        self.open(at, 1);
        self.starts[at] = bound.start;
        self.entries[at] = bound.entry;
        self.children[at] = child;
        self.max_ends[at] = highest;
    }

    pub fn set_bound(&mut self, at: usize, bound: Key) {
        self.starts[at] = bound.start;
        self.entries[at] = bound.entry;
    }
}

/// Either kind; which one, its level in the tree tells. Both are integers
/// only, so that any initialised memory is a valid value of both. Copying a
/// whole node of one kind may leave bytes uninitialised that are padding in it
/// and part of a column in the other: who takes a node of unknown contents
/// therefore overwrites all of it first ([`Columns::clear`], or `EMPTY`).
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) union Node {
    pub leaf: Leaf,
    pub inner: Inner,
    /// The next free node.
    pub free: u32,
}
