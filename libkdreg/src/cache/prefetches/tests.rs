// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a queue hands out, and to whom.

use super::super::asking::Ask;
use super::super::{Cache, Handle, Options, Registrar};
use super::{Joined, Prefetch, Queue, room};
use crate::errno::Errno;
use crate::monitor::manual::Manual;
use crate::range::Range;

struct Nothing;

impl Registrar for Nothing {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        Ok(Handle(range.start()))
    }
    fn deregister(&self, _range: Range, _handle: Handle) {}
}

/// Prefetches of the pages from the first to the last.
fn prefetches(count: usize) -> Vec<Prefetch> {
    let (_manual, monitor) = Manual::open().unwrap();
    let cache = Cache::new(&monitor, Options::default(), Box::new(Nothing)).unwrap();
    let terms = cache.inner().terms(Ask::default()).unwrap();
    (0..count)
        .map(|index| Range::new((1 << 32) + index * 4096, 4096).unwrap())
        .map(|range| Prefetch::new(range, 1, terms, None))
        .collect()
}

#[test]
fn one_is_done_at_a_time_whoever_does_it() {
    let mut queue = Queue::NONE;
    let all = prefetches(2);
    assert!(queue.prepare(room().unwrap()).0);
    assert!(queue.join(&all[0], false) == Joined::Accepted);
    assert!(queue.join(&all[1], false) == Joined::Accepted);
    assert!(queue.is_expecting() && queue.is_expected_here());
    queue.expected(None);
    let next = |queue: &mut Queue| queue.next(false).map(|next| next.range);
    assert_eq!(next(&mut queue), Some(all[0].range));
    // Another thread that drains the cache: this one does the rest.
    assert_eq!(next(&mut queue), None);
    assert!(queue.is_busy() && !queue.is_left());
    queue.finish(None);
    assert!(queue.is_left());
    assert_eq!(next(&mut queue), Some(all[1].range));
    queue.finish(None);
    assert!(!queue.is_busy());
    assert_eq!(next(&mut queue), None);
}
