// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which ranges overlap.

use super::node::{Columns, Inner, Leaf};
use super::{HIGHEST, Tree};
use crate::interval_tree::NIL;
use crate::range::USER_END;
use std::ops::ControlFlow;

/// What is looked for.
#[derive(Clone, Copy)]
struct Query {
    start: usize,
    end: usize,
    /// Ranges that start at or below this end too early, unless it is 0.
    reach: usize,
}

impl Query {
    /// Whether ranges that start there may be long enough.
    #[inline(always)]
    fn reaches(self, start: usize) -> bool {
        self.reach == 0 || start > self.reach
    }
}

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
    /// multiples of that, or by any distance if they have more than 2^44 - 2^13
    /// bytes.
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
        let query = Query {
            start,
            // Who asks for neighbours may ask beyond the last address there
            // is, where nothing starts.
            end: end.min(USER_END),
            reach: start.saturating_sub(self.longest),
        };
        // Most often one child of each node will do.
        let mut node = self.root;
        for levels in (1..=self.levels).rev() {
            let level = self.level(node, query);
            match level.stop - level.next {
                0 => return ControlFlow::Continue(()),
                1 => node = self.child(level),
                _ => return self.walk(node, levels, query, visit),
            }
        }
        self.leaf(node).visit(query, visit)
    }

    /// As `overlapping`, below an inner node on the `levels`th level.
    fn walk<B>(
        &self,
        top: u32,
        levels: usize,
        query: Query,
        visit: &mut impl FnMut(u32) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut path = [Level::NONE; HIGHEST];
        path[0] = self.level(top, query);
        let mut depth = 0;
        loop {
            let level = &mut path[depth];
            if level.next == level.stop {
                if depth == 0 {
                    return ControlFlow::Continue(());
                }
                depth -= 1;
                continue;
            }
            let node = self.child(*level);
            let inner = self.inner(level.node);
            level.next = inner.next(level.next + 1, level.stop, query.start);
            if depth + 1 == levels {
                self.leaf(node).visit(query, visit)?;
            } else {
                depth += 1;
                path[depth] = self.level(node, query);
            }
        }
    }

    /// The children of an inner node that may hold what overlaps.
    #[inline(always)]
    fn level(&self, node: u32, query: Query) -> Level {
        let inner = self.inner(node);
        let within = inner.within(query);
        let stop = within.end as u16;
        Level {
            node,
            next: inner.next(within.start as u16, stop, query.start),
            stop,
        }
    }

    /// The next child to look at.
    #[inline(always)]
    fn child(&self, level: Level) -> u32 {
        let child = self.inner(level.node).children[usize::from(level.next)];
        self.fetch(child);
        child
    }
}

impl Leaf {
    /// See [`Tree::overlapping`].
    #[inline(always)]
    fn visit<B>(
        &self,
        query: Query,
        visit: &mut impl FnMut(u32) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let stop = self.starts_below(query.end);
        let mut first = stop;
        let mut any = false;
        while first > 0 && query.reaches(self.starts[first - 1]) {
            first -= 1;
            any |= self.end(first) > query.start;
        }
        if !any {
            return ControlFlow::Continue(());
        }
        for at in first..stop {
            if self.end(at) > query.start {
                visit(self.entries[at])?;
            }
        }
        ControlFlow::Continue(())
    }
}

impl Inner {
    /// Which children may hold ranges that start where the query looks.
    #[inline(always)]
    fn within(&self, query: Query) -> std::ops::Range<usize> {
        let stop = self.starts_below(query.end);
        let mut first = stop.saturating_sub(1);
        // Most often none: ranges are short, and children hold many. The last
        // child with a bound that the query does not reach may hold starts that
        // it does.
        while first > 0 && query.reaches(self.starts[first]) {
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
