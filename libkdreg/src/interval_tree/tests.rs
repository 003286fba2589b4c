// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;
use proptest::prelude::*;

#[derive(Default)]
struct Arena {
    nodes: Vec<Node>,
    heights: Vec<u8>,
}

impl Nodes for Arena {
    fn node(&self, index: u32) -> &Node {
        &self.nodes[index as usize]
    }
    fn node_mut(&mut self, index: u32) -> &mut Node {
        &mut self.nodes[index as usize]
    }
    fn height(&self, index: u32) -> u8 {
        self.heights[index as usize]
    }
    fn set_height(&mut self, index: u32, height: u8) {
        self.heights[index as usize] = height;
    }
}

/// Checks order, balance and augmentation; returns (height, max_end).
fn check(arena: &Arena, root: u32) -> (i32, usize) {
    if root == NIL {
        return (0, 0);
    }
    let node = arena.node(root);
    let (lh, le) = check(arena, node.left);
    let (rh, re) = check(arena, node.right);
    assert!((lh - rh).abs() <= 1, "unbalanced");
    for (child, below) in [(node.left, true), (node.right, false)] {
        if child != NIL {
            assert_eq!(key(arena, child) < key(arena, root), below, "out of order");
        }
    }
    let height = lh.max(rh) + 1;
    assert_eq!(i32::from(arena.height(root)), height);
    let highest = node.end.max(le).max(re);
    assert_eq!(node.max_end, highest);
    (height, highest)
}

fn overlapping(tree: &Tree, arena: &Arena, start: usize, end: usize) -> Vec<u32> {
    let mut found = Vec::new();
    let _ = tree.overlapping::<()>(arena, start, end, &mut |i| {
        found.push(i);
        ControlFlow::Continue(())
    });
    found
}

#[derive(Clone, Debug)]
enum Step {
    Insert(usize, usize),
    Remove(usize),
    Query(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0usize..300, 1usize..120).prop_map(|(s, l)| Step::Insert(s, l)),
        (0usize..1000).prop_map(Step::Remove),
        (0usize..300, 1usize..60).prop_map(|(s, l)| Step::Query(s, l)),
    ];
    prop::collection::vec(step, 1..250)
}

proptest! {
    #[test]
    fn behaves_like_a_list_of_ranges(steps in steps()) {
        let mut arena = Arena::default();
        let mut tree = Tree::new();
        let mut model: Vec<(usize, u32, usize)> = Vec::new();
        for step in steps {
            match step {
                Step::Insert(start, len) => {
                    let index = arena.nodes.len() as u32;
                    arena.nodes.push(Node::new(start, start + len));
                    arena.heights.push(0);
                    tree.insert(&mut arena, index);
                    model.push((start, index, start + len));
                }
                Step::Remove(pick) => {
                    if !model.is_empty() {
                        let (_, index, _) = model.swap_remove(pick % model.len());
                        tree.remove(&mut arena, index);
                    }
                }
                Step::Query(start, len) => {
                    let mut expected: Vec<_> = model
                        .iter()
                        .filter(|(s, _, e)| *s < start + len && *e > start)
                        .copied()
                        .collect();
                    expected.sort_unstable();
                    let found = overlapping(&tree, &arena, start, start + len);
                    prop_assert_eq!(found, expected.iter().map(|r| r.1).collect::<Vec<_>>());
                }
            }
            check(&arena, tree.root);
        }
        prop_assert_eq!(tree.root == NIL, model.is_empty());
    }
}

/// Counts how often a node is looked at.
struct Counting(Arena, std::cell::Cell<usize>);

impl Counting {
    /// As many ranges as `range` gives bounds for, in the order of their numbers.
    fn of(count: usize, range: impl Fn(usize) -> (usize, usize)) -> (Counting, Tree) {
        let mut arena = Arena::default();
        let mut tree = Tree::new();
        for index in 0..count {
            let (start, end) = range(index);
            arena.nodes.push(Node::new(start, end));
            arena.heights.push(0);
            tree.insert(&mut arena, index as u32);
        }
        (Counting(arena, std::cell::Cell::new(0)), tree)
    }

    /// How often one was looked at since this was last asked.
    fn looks(&self) -> usize {
        self.1.take()
    }
}

impl Nodes for Counting {
    fn node(&self, index: u32) -> &Node {
        self.1.set(self.1.get() + 1);
        self.0.node(index)
    }
    fn node_mut(&mut self, index: u32) -> &mut Node {
        self.0.node_mut(index)
    }
    fn height(&self, index: u32) -> u8 {
        self.0.height(index)
    }
    fn set_height(&mut self, index: u32, height: u8) {
        self.0.set_height(index, height);
    }
}

fn count(tree: &Tree, arena: &Counting, start: usize, end: usize) -> usize {
    let mut found = 0;
    let _ = tree.overlapping::<()>(arena, start, end, &mut |_| {
        found += 1;
        ControlFlow::Continue(())
    });
    found
}

/// Nested ranges are where a tree keyed by start alone degenerates: count
/// the nodes a query touches.
#[test]
fn a_query_touches_few_nodes_however_ranges_nest() {
    const N: usize = 100_000;
    // All start below N; each contains the next.
    let (arena, tree) = Counting::of(N, |i| (i, 4 * N - i));
    let outside = 4 * N - 3;
    assert_eq!(count(&tree, &arena, outside, outside + 1), 3);
    let looks = arena.looks();
    assert!(looks < 200, "{looks} node reads");
}

/// Not where ranges start that are too short to reach it, even to see that.
#[test]
fn a_query_does_not_look_where_all_end_too_early() {
    const N: usize = 1 << 12;
    let (arena, tree) = Counting::of(N, |i| (i * 4 + 4, i * 4 + 8));
    let all = (0..N).map(|i| count(&tree, &arena, i * 4 + 5, i * 4 + 6));
    assert_eq!(all.sum::<usize>(), N);
    // Once on the way down, and what is found once more.
    let looks = arena.looks();
    assert!(looks < N * (12 + 4), "{looks} node reads");
}

/// What a removal does not change is not looked at on the way up.
#[test]
fn a_removal_goes_up_as_far_as_it_must() {
    const N: usize = 1 << 16;
    let (mut arena, mut tree) = Counting::of(N, |i| (i * 4, i * 4 + 4));
    arena.looks();
    for index in (0..N).step_by(64) {
        tree.remove(&mut arena, index as u32);
    }
    let looks = arena.looks();
    assert!(looks < N / 64 * (16 + 8), "{looks} node reads");
    check(&arena.0, tree.root);
}

/// Of trees of which many nodes end where others do, so that what the highest end
/// is falls here and stays there.
#[test]
fn the_highest_ends_are_right_after_each_removal() {
    for step in (3..200).step_by(4) {
        let count = 199;
        let (mut arena, mut tree) = Counting::of(count, |i| {
            let start = i * step % count;
            (start, start.next_multiple_of(16) + 16)
        });
        check(&arena.0, tree.root);
        for i in 0..count {
            tree.remove(&mut arena, (i * 7 % count) as u32);
            check(&arena.0, tree.root);
        }
        assert_eq!(tree.root, NIL);
    }
}
