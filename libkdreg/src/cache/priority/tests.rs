// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes first, last, and never.

use super::super::{Cache, Group, GroupOptions, Handle, Held, Options, Registrar};
use super::PINNED;
use crate::errno::Errno;
use crate::monitor::Monitor;
use crate::monitor::manual::Manual;
use crate::range::Range;

const PAGE: usize = 4096;

struct Nothing;

impl Registrar for Nothing {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        Ok(Handle(range.start()))
    }
    fn deregister(&self, _range: Range, _handle: Handle) {}
}

fn cache(monitor: &Monitor, max_entries: usize, group: Option<&Group>) -> Cache {
    let options = Options {
        max_entries,
        no_reaper: true,
        group: group.cloned(),
        ..Options::default()
    };
    Cache::new(monitor, options, Box::new(Nothing)).unwrap()
}

fn region(index: usize) -> Range {
    Range::new((1 << 32) + index * 4 * PAGE, PAGE).unwrap()
}

fn get(cache: &Cache, index: usize) -> Held<'_> {
    cache.get(region(index), 1).unwrap()
}

fn get_with(cache: &Cache, index: usize, priority: u8) {
    get(cache, index).prioritize(priority).unwrap();
}

/// Which of the first `count` are there. Only for the end: it uses them.
fn there(cache: &Cache, count: usize) -> Vec<usize> {
    (0..count)
        .filter(|&index| cache.find(region(index), 1).is_ok())
        .collect()
}

#[test]
fn the_smallest_priority_goes_first_and_the_pinned_never() {
    let (_manual, monitor) = Manual::open().unwrap();
    let cache = cache(&monitor, 6, None);
    for (index, priority) in [PINNED, 2, 1, 2, 0, 0].into_iter().enumerate() {
        get_with(&cache, index, priority);
    }
    let evict = |count: usize| {
        for _ in 0..count {
            assert_eq!(cache.inner().evict(1), Ok(1));
        }
    };
    // Of those without, the one used last is evicted last.
    drop(get(&cache, 4));
    evict(1);
    assert!(cache.find(region(5), 1).is_err());
    evict(2);
    assert_eq!(there(&cache, 6), [0, 1, 3]);
    evict(2);
    assert_eq!(cache.inner().evict(1), Ok(0));
    assert_eq!(there(&cache, 6), [0]);
    get_with(&cache, 0, 0);
    evict(1);
    assert_eq!(cache.statistics().unwrap().entries, 0);
}

#[test]
fn the_pinned_stay_while_everything_else_comes_and_goes() {
    let (_manual, monitor) = Manual::open().unwrap();
    let cache = cache(&monitor, 16, None);
    (0..8).for_each(|index| get_with(&cache, index, PINNED));
    (8..1000).for_each(|index| drop(get(&cache, index)));
    let counts = cache.statistics().unwrap();
    assert_eq!((counts.entries, counts.uncached), (16, 0));
    assert_eq!(there(&cache, 992), (0..8).collect::<Vec<_>>());
    // What is pinned can change, and be dropped, as anything can.
    cache.invalidate(region(3)).unwrap();
    assert!(cache.find(region(3), 1).is_err());
    get_with(&cache, 3, 1);
    // Nothing left to evict: uncached, and what is kept is kept.
    (992..1000).for_each(|index| get_with(&cache, index, PINNED));
    (0..8).for_each(|index| get_with(&cache, index, PINNED));
    let before = cache.statistics().unwrap();
    (2000..2010).for_each(|index| {
        let held = get(&cache, index);
        assert_eq!(held.prioritize(1), Err(Errno::ENOENT));
    });
    let counts = cache.statistics().unwrap();
    assert_eq!(counts.uncached - before.uncached, 10);
    assert_eq!(counts.evictions, before.evictions);
    // One that is in use does not hide that another is idle.
    get_with(&cache, 5, 3);
    let held = get(&cache, 6);
    held.prioritize(0).unwrap();
    drop(get(&cache, 2000));
    assert!(cache.find(region(5), 1).is_err());
    assert!(cache.find(region(2000), 1).is_ok());
}

#[test]
fn what_supersedes_inherits_and_what_is_gone_has_none() {
    let (_manual, monitor) = Manual::open().unwrap();
    let cache = cache(&monitor, 4, None);
    let small = get(&cache, 0);
    small.prioritize(PINNED).unwrap();
    let wide = Range::new(region(0).start(), 2 * PAGE).unwrap();
    drop(cache.get(wide, 1).unwrap());
    assert_eq!(small.prioritize(1), Err(Errno::ENOENT));
    drop(small);
    (1..100).for_each(|index| drop(get(&cache, index)));
    assert!(cache.find(wide, 1).is_ok());
    // Its slot, in the hands of another, has no priority.
    cache.flush().unwrap();
    (0..4).for_each(|index| drop(get(&cache, index)));
    for _ in 0..4 {
        assert_eq!(cache.inner().evict(1), Ok(1));
    }
}

#[test]
fn priorities_hold_over_all_caches_of_a_group() {
    let (_manual, monitor) = Manual::open().unwrap();
    let group = Group::new(&GroupOptions {
        max_entries: 6,
        ..GroupOptions::default()
    })
    .unwrap();
    let (one, other) = (
        cache(&monitor, 100, Some(&group)),
        cache(&monitor, 100, Some(&group)),
    );
    get_with(&one, 0, PINNED);
    get_with(&one, 1, 1);
    get_with(&other, 2, 2);
    (3..6).for_each(|index| drop(get(&other, index)));
    (100..103).for_each(|index| drop(get(&one, index)));
    assert_eq!(there(&other, 6), [2]);
    assert_eq!(there(&one, 6), [0, 1]);
    assert_eq!(group.evict(3 * PAGE), Ok(3));
    assert_eq!((there(&one, 6), there(&other, 6)), (vec![0, 1], vec![2]));
    assert_eq!(group.evict(1), Ok(1));
    assert_eq!((there(&one, 6), there(&other, 6)), (vec![0], vec![2]));
    assert_eq!(group.evict(usize::MAX), Ok(1));
    assert_eq!((there(&one, 6), there(&other, 6)), (vec![0], vec![]));
    assert_eq!(group.evict(1), Ok(0));
}

#[test]
fn what_cannot_be_kept_moves_nothing() {
    let (_manual, monitor) = Manual::open().unwrap();
    let cache = cache(&monitor, 8, None);
    (0..7).for_each(|index| get_with(&cache, index, PINNED));
    let held = get(&cache, 7);
    let order = || {
        let state = cache.inner().state.lock();
        state.lru.entries(&state.links).collect::<Vec<_>>()
    };
    let before = order();
    // Who passes entries over takes those in use out.
    assert_eq!(before.len(), 8);
    for index in 100..110 {
        drop(get(&cache, index));
        assert_eq!(order(), before);
    }
    // Once there is something to evict, it is.
    drop(held);
    drop(get(&cache, 110));
    assert!(cache.find(region(110), 1).is_ok());
    assert!(cache.find(region(7), 1).is_err());
}
