// SPDX-License-Identifier: MIT OR Apache-2.0
//! How nodes are filled and searched, and the end of user space.

use super::*;

fn counts_starts<N: Kind>(mut node: N, fill: impl Fn(&mut N, usize)) {
    for count in 0..=N::ROOM {
        for start in 0..=10 * N::ROOM + 1 {
            let expected = (0..count).filter(|at| 10 * at < start).count();
            assert_eq!(node.starts_below(start), expected, "{start} in {count}");
        }
        assert_eq!(node.starts_below(node::NOWHERE), count);
        if count < N::ROOM {
            fill(&mut node, count);
        }
    }
}

#[test]
fn a_search_in_a_node_counts_the_starts_below() {
    let key = |at| Key {
        start: 10 * at,
        entry: 7,
    };
    counts_starts(Leaf::EMPTY, |leaf, at| {
        leaf.insert(at, key(at), node::Span::of(1))
    });
    counts_starts(Inner::EMPTY, |inner, at| inner.insert(at, key(at), 0, 0));
}

/// What is registered in the order of its addresses is to be found by few steps.
#[test]
fn ascending_starts_fill_the_nodes() {
    const N: usize = 100_000;
    let mut tree = tree(N);
    for i in 0..N {
        tree.insert(pages(2 * i, 1), i as u32);
    }
    assert_eq!(tree.checked(), N);
    assert_eq!(tree.levels, 3);
    let leaves = N.div_ceil(node::LEAF);
    let least = leaves + leaves / node::INNER + leaves / node::INNER.pow(2);
    let nodes = tree.fresh as usize;
    assert!(nodes < least + 20, "{nodes} nodes where {least} are full");
}

/// The last pages there are: differences of addresses are as large as they get.
#[test]
fn ranges_may_end_where_user_space_ends() {
    const END: usize = 1 << (usize::BITS - 1);
    for count in 1..=6 {
        let mut tree = tree(count);
        for i in 1..=count {
            tree.insert(
                Range::between(END - i * PAGE, END - (i - 1) * PAGE),
                i as u32,
            );
        }
        let all: Vec<u32> = (1..=count as u32).rev().collect();
        assert_eq!(overlapping(&tree, Range::between(0, END)), all);
        assert_eq!(overlapping(&tree, Range::between(END - 1, END)), [1]);
        let below = Range::between(0, END - count * PAGE);
        assert!(overlapping(&tree, below).is_empty());
    }
}

/// A span says of it only that it is long.
#[test]
fn an_endless_range_is_found_at_its_end() {
    const LENGTH: usize = 1 << 46;
    for others in [0, 3, 40] {
        let mut tree = tree(1 + others);
        tree.insert(Range::between(PAGE, PAGE + LENGTH), 0);
        for i in 1..=others {
            tree.insert(pages(i, 1), i as u32);
        }
        assert_eq!(
            overlapping(&tree, Range::between(LENGTH, LENGTH + PAGE)),
            [0]
        );
    }
}

#[test]
#[should_panic(expected = "within user space")]
fn what_is_stored_ends_within_user_space() {
    let end = 1 << (usize::BITS - 1);
    tree(1).insert(Range::between(end - 1, end), 0);
}

/// A query for the neighbours of a range at the end of user space ends beyond
/// that, and finds what starts at address 0 all the same, and the last of a
/// full node.
#[test]
fn a_query_may_end_beyond_user_space() {
    for count in [1, node::LEAF, 20 * node::LEAF, 2000] {
        let mut tree = tree(count);
        for i in 0..count {
            tree.insert(pages(i, 1), i as u32);
        }
        let mut found = 0;
        let _ = tree.overlapping::<()>(0, (1 << (usize::BITS - 1)) + 1, &mut |_| {
            found += 1;
            ControlFlow::Continue(())
        });
        assert_eq!(found, count);
    }
}

/// Ascending, far apart, until the last inner node under the root is full.
fn full_at_the_end() -> (Tree, usize) {
    let mut tree = tree(5000);
    for count in 1.. {
        tree.insert(pages(1000 * count, 1), count as u32);
        if tree.levels == 2 && last_below_root(&tree).count() == Inner::ROOM {
            return (tree, count);
        }
    }
    unreachable!();
}

fn last_below_root(tree: &Tree) -> &Inner {
    let root = tree.inner(tree.root);
    tree.inner(root.children[root.count() - 1])
}

/// What follows all in the left part of a node that is split is not appended.
#[test]
fn a_range_behind_a_leaf_in_the_middle_leaves_no_small_one() {
    for leaf in 0..Inner::ROOM {
        let (mut tree, count) = full_at_the_end();
        let leaf = tree.leaf(last_below_root(&tree).children[leaf]);
        let behind = leaf.starts[leaf.count() - 1] / PAGE + 1;
        tree.insert(pages(behind, 1), 0);
        assert_eq!(tree.checked(), count + 1);
    }
}
