// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which ranges overlap.

use super::node::{Columns, Inner, Leaf, NOWHERE, Span};
use super::{HIGHEST, Tree};
use crate::interval_tree::NIL;
use std::ops::ControlFlow;

/// Places of a leaf that a query looks at in any case.
const NEAR: usize = 4;

/// What is looked for.
#[derive(Clone, Copy)]
struct Query {
    start: usize,
    end: usize,
    /// Ranges that start below this end too early. Negative where the longest
    /// does not fit before `start`.
    reach: isize,
}

impl Query {
    /// Whether ranges that start there may be long enough.
    #[inline(always)]
    fn reaches(self, start: usize) -> bool {
        // No address has the highest bit.
        start as isize >= self.reach
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
            end: end.min(NOWHERE),
            // One less than `longest`, which may be as much as the sign bit.
            reach: (start as isize).wrapping_sub((self.longest as isize).wrapping_sub(1)),
        };
        let mut node = self.root;
        for levels in (1..=self.levels).rev() {
            let inner = self.inner(node);
            let Some(at) = inner.starts_below(query.end).checked_sub(1) else {
                return ControlFlow::Continue(());
            };
            // Most often this child alone will do: ranges are short, and
            // children hold many.
            if !query.reaches(inner.starts[at]) {
                node = inner.children[at];
                self.fetch(node);
                if inner.max_ends[at] <= query.start {
                    return ControlFlow::Continue(());
                }
                continue;
            }
            let level = self.level(node, query);
            match level.stop - level.next {
                0 => return ControlFlow::Continue(()),
                1 => node = self.child(level),
                _ => return self.walk(node, levels, query, visit),
            }
        }
        let leaf = self.leaf(node);
        if self.longest > Span::LONGEST || leaf.may_hold(query) {
            leaf.visit(query, visit)
        } else {
            ControlFlow::Continue(())
        }
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
    /// Whether any of the last few ranges that start before the query ends
    /// overlaps it, or one before these might. None is endless.
    ///
    /// The few are looked at without a branch: most often nothing overlaps, and
    /// how many there are to be looked at is not to be guessed.
    #[inline(always)]
    fn may_hold(&self, query: Query) -> bool {
        let stop = self.starts_below(query.end);
        let first = stop.max(NEAR) - NEAR;
        // Two differences, of which the highest bits are set if they are
        // negative: the range starts before the query ends (what is beyond
        // `stop` does not), and ends after it starts. They fit: ranges end
        // within user space, as `insert` sees to.
        let overlaps = |at: usize| {
            let start = self.starts[at];
            let end = start.wrapping_add(self.spans[at].bytes());
            start.wrapping_sub(query.end) & query.start.wrapping_sub(end)
        };
        let any = (0..NEAR).fold(0, |any, at| any | overlaps(first + at));
        any >> (usize::BITS - 1) != 0 || first > 0 && query.reaches(self.starts[first - 1])
    }

    /// See [`Tree::overlapping`].
    #[inline(always)]
    fn visit<B>(
        &self,
        query: Query,
        visit: &mut impl FnMut(u32) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let stop = self.starts_below(query.end);
        let mut first = stop;
        while first > 0 && query.reaches(self.starts[first - 1]) {
            first -= 1;
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
