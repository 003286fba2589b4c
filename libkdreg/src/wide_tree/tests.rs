// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tree against a list of ranges, and against its own promises.

use super::*;
use crate::range::Range;
use proptest::prelude::*;
use std::ops::ControlFlow;

mod edges;

const PAGE: usize = 4096;

fn tree(capacity: usize) -> Tree {
    let (memory, tree) = TreeMemory::new(capacity).unwrap();
    memory.commit(capacity as u32).unwrap();
    tree
}

fn pages(first: usize, count: usize) -> Range {
    Range::new(first * PAGE, count * PAGE).unwrap()
}

fn overlapping(tree: &Tree, range: Range) -> Vec<u32> {
    let mut found = Vec::new();
    let _ = tree.overlapping::<()>(range.start(), range.end(), &mut |entry| {
        found.push(entry);
        ControlFlow::Continue(())
    });
    found
}

/// What a checked part of a tree is.
struct Part {
    nodes: usize,
    ranges: usize,
    highest: usize,
}

impl Tree {
    /// Checks order, fill, bounds and highest ends below `node`, whose keys are
    /// in `low..high`.
    fn check(&self, node: u32, level: usize, low: Key, high: Option<Key>, last: bool) -> Part {
        let within = |key: Key| key >= low && high.is_none_or(|high| key < high);
        if level == 0 {
            let leaf = self.leaf(node);
            let count = leaf.count();
            assert!(
                node == self.root || last || count >= Leaf::LEAST,
                "{count} in a leaf"
            );
            assert!((0..count).all(|at| within(leaf.key(at))), "out of bounds");
            assert!(
                (1..count).all(|at| leaf.key(at - 1) < leaf.key(at)),
                "out of order"
            );
            return Part {
                nodes: 1,
                ranges: count,
                highest: leaf.highest(),
            };
        }
        let inner = self.inner(node);
        let count = inner.count();
        let least = if node == self.root { 2 } else { Inner::LEAST };
        assert!(count >= least, "{count} below a node");
        assert_eq!(inner.key(0), low, "a node's first bound is its own");
        let mut whole = Part {
            nodes: 1,
            ranges: 0,
            highest: 0,
        };
        for at in 0..count {
            let above = (at + 1 < count).then(|| inner.key(at + 1)).or(high);
            let last = last && at + 1 == count;
            let part = self.check(inner.children[at], level - 1, inner.key(at), above, last);
            assert_eq!(inner.max_ends[at], part.highest, "a wrong highest end");
            whole.nodes += part.nodes;
            whole.ranges += part.ranges;
            whole.highest = whole.highest.max(part.highest);
        }
        whole
    }

    /// Checks everything; returns how many ranges there are.
    fn checked(&self) -> usize {
        if self.root == NIL {
            return 0;
        }
        let part = self.check(
            self.root,
            self.levels,
            Key { start: 0, entry: 0 },
            None,
            true,
        );
        assert!(part.nodes <= nodes(part.ranges), "{} nodes", part.nodes);
        let mut free = 0;
        let mut node = self.free;
        while node != NIL {
            free += 1;
            // SAFETY: a free node, which holds the next one's number.
            node = unsafe { (*self.pointer(node)).free };
        }
        assert_eq!(part.nodes + free, self.fresh as usize, "a node was lost");
        part.ranges
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Range),
    Remove(usize),
    /// Many in a row: where, how far apart, how many.
    Run(usize, isize, usize),
    /// All but so many.
    Drain(usize),
    Query(Range),
}

/// With some ranges of more bytes than a span can say, or with none.
fn steps(endless: bool) -> impl Strategy<Value = Vec<Step>> {
    let logs = if endless { 40usize..48 } else { 20..30 };
    let range = |lengths| (1usize..3000, lengths).prop_map(|(first, count)| pages(first, count));
    let step = prop_oneof![
        8 => range(1usize..120).prop_map(Step::Insert),
        // Not of whole pages.
        1 => (1usize..9_000_000, 1usize..50_000)
            .prop_map(|(start, len)| Step::Insert(Range::new(start, len).unwrap())),
        1 => (1usize..3000, logs)
            .prop_map(|(first, log)| Step::Insert(Range::new(first * PAGE, 1 << log).unwrap())),
        6 => (0usize..10_000).prop_map(Step::Remove),
        1 => (1000usize..2000, -3isize..4, 1usize..200)
            .prop_map(|(first, apart, count)| Step::Run(first, apart, count)),
        1 => (0usize..40).prop_map(Step::Drain),
        6 => range(1usize..60).prop_map(Step::Query),
    ];
    prop::collection::vec(step, 1..200)
}

/// Ranges and the entries they are stored for, and the tree.
struct Both {
    tree: Tree,
    model: Vec<(usize, u32, Range)>,
    next: u32,
}

impl Both {
    fn insert(&mut self, range: Range) {
        self.tree.insert(range, self.next);
        self.model.push((range.start(), self.next, range));
        self.next += 1;
    }

    fn remove(&mut self, pick: usize) {
        if !self.model.is_empty() {
            let (start, entry, _) = self.model.swap_remove(pick % self.model.len());
            self.tree.remove(start, entry);
        }
    }

    fn query(&self, range: Range) -> Result<(), TestCaseError> {
        let mut expected: Vec<_> = self.model.iter().filter(|r| r.2.overlaps(range)).collect();
        expected.sort_unstable_by_key(|r| (r.0, r.1));
        let expected: Vec<u32> = expected.iter().map(|r| r.1).collect();
        let found = overlapping(&self.tree, range);
        let exact = |&entry: &u32| {
            let (_, _, stored) = self.model.iter().find(|r| r.1 == entry).unwrap();
            stored.overlaps(range)
        };
        for entry in &found {
            let (_, _, stored) = self.model.iter().find(|r| r.1 == *entry).unwrap();
            let longer = stored.start() + stored.len().next_multiple_of(PAGE);
            let near = longer > range.start() || stored.len() >= 1 << 44;
            let near = near && stored.start() < range.end();
            prop_assert!(near, "{stored:?} was found for {range:?}");
        }
        let found: Vec<u32> = found.into_iter().filter(exact).collect();
        prop_assert_eq!(found, expected);
        Ok(())
    }
}

fn behaves(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut both = Both {
        tree: tree(50_000),
        model: Vec::new(),
        next: 0,
    };
    for step in steps {
        match step {
            Step::Insert(range) => both.insert(range),
            Step::Remove(pick) => both.remove(pick),
            Step::Run(first, apart, count) => {
                for i in 0..count as isize {
                    both.insert(pages((first as isize + i * apart) as usize, 2));
                }
            }
            Step::Drain(leave) => {
                while both.model.len() > leave {
                    both.remove(both.model.len() / 3);
                }
            }
            Step::Query(range) => both.query(range)?,
        }
        prop_assert_eq!(both.tree.checked(), both.model.len());
    }
    Ok(())
}

proptest! {
    #[test]
    fn behaves_like_a_list_of_ranges(steps in steps(false)) {
        behaves(steps)?;
    }

    #[test]
    fn behaves_like_a_list_of_ranges_some_endless(steps in steps(true)) {
        behaves(steps)?;
    }

    /// Ranges that lie close, of few lengths, as a cache's do: most queries are
    /// answered by the leaf's first look, and many miss by a page.
    #[test]
    fn finds_what_overlaps_among_short_ranges(
        ranges in prop::collection::vec((0usize..600, 1usize..6), 0..400),
        queries in prop::collection::vec((0usize..610, 1usize..3), 1..100),
    ) {
        let mut both = Both { tree: tree(400), model: Vec::new(), next: 0 };
        for (first, count) in ranges {
            both.insert(pages(first, count));
        }
        for (first, count) in queries {
            both.query(pages(first, count))?;
        }
    }
}

/// A cheap sequence of numbers that look random.
fn scrambled(i: usize) -> usize {
    (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> 20
}

#[test]
fn keeps_its_shape_in_any_order_of_insertion_and_removal() {
    const N: usize = 40_000;
    type Order = (&'static str, fn(usize) -> usize);
    let orders: [Order; 4] = [
        ("ascending", |i| i),
        ("descending", |i| N - i),
        ("scrambled", |i| scrambled(i) % (16 * N)),
        ("all the same", |_| 7),
    ];
    for (order, place) in orders {
        let mut tree = tree(N);
        for i in 0..N {
            tree.insert(pages(place(i) + 1, 1), i as u32);
        }
        assert_eq!(tree.checked(), N, "{order}");
        let full = tree.fresh as usize * size_of::<Node>();
        println!("{order}: {:.1} bytes a range", full as f64 / N as f64);
        assert!(full <= 30 * N, "{order}: {full} bytes");
        // Every third first, the rest from the other end.
        for i in (0..N).step_by(3) {
            tree.remove((place(i) + 1) * PAGE, i as u32);
        }
        assert_eq!(tree.checked(), N - N.div_ceil(3), "{order}");
        for i in (0..N).rev().filter(|i| i % 3 != 0) {
            tree.remove((place(i) + 1) * PAGE, i as u32);
        }
        assert_eq!(tree.checked(), 0, "{order}");
        assert!(overlapping(&tree, pages(1, 1 << 30)).is_empty());
    }
}

/// Nested ranges are where a tree keyed by start alone degenerates.
#[test]
fn a_query_visits_few_nodes_however_ranges_nest() {
    const N: usize = 100_000;
    let mut tree = tree(N);
    for i in 0..N {
        // All start below N; each contains the next.
        tree.insert(pages(i, 4 * N - 2 * i), i as u32);
    }
    // Only the first three reach so far, and one way leads to them: more could
    // not be told apart from the children that are passed over.
    assert_eq!(overlapping(&tree, pages(4 * N - 3, 1)), [0, 1, 2]);
    let mut node = tree.root;
    for _ in 0..tree.levels {
        let inner = tree.inner(node);
        let beyond = inner.max_ends[..inner.count()]
            .iter()
            .filter(|end| **end > (4 * N - 3) * PAGE);
        assert_eq!(beyond.count(), 1);
        node = inner.children[0];
    }
}

#[test]
#[should_panic(expected = "is in the tree")]
fn what_is_not_there_cannot_be_removed() {
    let mut tree = tree(10);
    tree.insert(pages(3, 1), 0);
    tree.remove(3 * PAGE, 1);
}
