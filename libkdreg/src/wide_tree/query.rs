// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which ranges overlap.

use super::node::{Columns, Inner, Leaf};
use super::{HIGHEST, Tree};
use crate::interval_tree::NIL;
use std::ops::ControlFlow;

/// An inner node being visited: the next child to look at, and the first not
/// to look at.
#[derive(Clone, Copy)]
struct Level {
    node: u32,
    next: u16,
    stop: u16,
}

impl Level {
    const NONE: Level = Level {
        node: NIL,
        next: 0,
        stop: 0,
    };
}

impl Tree {
    /// Calls `visit` for every stored range that overlaps `[start, end)`, in
    /// order of their starts, until it breaks. It may also call it for ranges
    /// that end before `start`: by less than 4 KiB if their lengths are no
    /// multiples of that, or by any distance if they have 2^44 bytes or more.
    #[inline]
    pub fn overlapping<B>(
        &self,
        start: usize,
        end: usize,
        visit: &mut impl FnMut(u32) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if self.root == NIL {
            return ControlFlow::Continue(());
        }
        // What starts at or below this ends too early.
        let reach = start.saturating_sub(self.longest);
        let mut levels = [Level::NONE; HIGHEST];
        let mut node = self.root;
        let mut depth = 0;
        loop {
            // Down to a leaf ...
            while depth < self.levels {
                levels[depth] = self.level(node, reach, start, end);
                let level = &mut levels[depth];
                if level.next == level.stop {
                    break;
                }
                node = self.inner(node).children[usize::from(level.next)];
                self.fetch(node);
                level.next += 1;
                depth += 1;
            }
            if depth == self.levels {
                let leaf = self.leaf(node);
                for at in leaf.within(reach, end) {
                    if leaf.end(at) > start {
                        visit(leaf.entries[at])?;
                    }
                }
            }
            // ... and up to where there is another child to look at.
            loop {
                if depth == 0 {
                    return ControlFlow::Continue(());
                }
                depth -= 1;
                let level = &mut levels[depth];
                let inner = self.inner(level.node);
                level.next = inner.next(level.next, level.stop, start);
                if level.next < level.stop {
                    node = inner.children[usize::from(level.next)];
                    level.next += 1;
                    depth += 1;
                    break;
                }
            }
        }
    }

    /// The children of an inner node that may hold what overlaps.
    #[inline(always)]
    fn level(&self, node: u32, reach: usize, start: usize, end: usize) -> Level {
        let inner = self.inner(node);
        let within = inner.within(reach, end);
        let stop = within.end as u16;
        Level {
            node,
            next: inner.next(within.start as u16, stop, start),
            stop,
        }
    }
}

impl Leaf {
    /// Which ranges start in `(reach, end)`; `reach` 0 is no bound.
    #[inline(always)]
    fn within(&self, reach: usize, end: usize) -> std::ops::Range<usize> {
        let first = match reach {
            0 => 0,
            _ => self.starts_below(reach + 1),
        };
        first..self.starts_below(end)
    }
}

impl Inner {
    /// Which children may hold ranges that start in `(reach, end)`; `reach` 0
    /// is no bound.
    #[inline(always)]
    fn within(&self, reach: usize, end: usize) -> std::ops::Range<usize> {
        let stop = self.starts_below(end);
        let mut first = stop.saturating_sub(1);
        // Most often none: ranges are short, and children hold many. The child
        // before the first bound above `reach` may hold starts above it, too.
        while first > 0 && (reach == 0 || self.starts[first] > reach) {
            first -= 1;
        }
        first..stop
    }

    /// The first child in `from..stop` that holds a range which ends after
    /// `start`, or `stop`.
    #[inline(always)]
    fn next(&self, from: u16, stop: u16, start: usize) -> u16 {
        (from..stop)
            .find(|&at| self.max_ends[usize::from(at)] > start)
            .unwrap_or(stop)
    }
}
