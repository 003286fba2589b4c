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

/// Nested ranges are where a tree keyed by start alone degenerates: count
/// the nodes a query touches.
#[test]
fn a_query_touches_few_nodes_however_ranges_nest() {
    struct Counting(Arena, std::cell::Cell<usize>);
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
    const N: usize = 100_000;
    let mut arena = Arena::default();
    let mut tree = Tree::new();
    for i in 0..N {
        // All start below N; each contains the next.
        arena.nodes.push(Node::new(i, 4 * N - i));
        arena.heights.push(0);
        tree.insert(&mut arena, i as u32);
    }
    let arena = Counting(arena, std::cell::Cell::new(0));
    let outside = 4 * N - 3;
    let mut found = 0;
    let _ = tree.overlapping::<()>(&arena, outside, outside + 1, &mut |_| {
        found += 1;
        ControlFlow::Continue(())
    });
    assert_eq!(found, 3);
    assert!(arena.1.get() < 200, "{} node reads", arena.1.get());
}
