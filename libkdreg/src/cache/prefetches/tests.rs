// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a queue hands out, and to whom.

use super::super::asking::Ask;
use super::super::{Cache, Done, Handle, Options, Registrar};
use super::{Joined, Prefetch, Queue, Ready, room};
use crate::errno::Errno;
use crate::monitor::manual::Manual;
use crate::range::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

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

fn count(arg: usize) {
    // SAFETY: from a reference in the test that this is called in.
    let counter = unsafe { &*(arg as *const AtomicUsize) };
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A cache that drains, with one prefetch whose thread could not be started.
fn left(told: &AtomicUsize, done: &AtomicUsize) -> Cache {
    let (_manual, monitor) = Manual::open().unwrap();
    let options = Options {
        no_reaper: true,
        ..Options::default()
    };
    let cache = Cache::new(&monitor, options, Box::new(Nothing)).unwrap();
    let mut prefetch = prefetches(1)[0];
    prefetch.ready = Some(Ready {
        call: |ready, entry| {
            assert_eq!(entry, Err(Errno::ESHUTDOWN));
            count(ready.arg);
        },
        function: 0,
        arg: std::ptr::from_ref(told) as usize,
    });
    {
        let mut state = cache.inner().state.lock();
        state.ahead.prepare(room().unwrap());
        assert!(state.ahead.join(&prefetch, false) == Joined::Accepted);
    }
    let done = Done {
        call: |done| count(done.arg),
        function: 0,
        arg: std::ptr::from_ref(done) as usize,
    };
    cache.inner().drain(Some(done)).unwrap();
    cache.inner().state.lock().ahead.expected(None);
    assert_eq!(cache.may_be_destroyed(), Err(Errno::EBUSY));
    cache
}

#[test]
fn what_has_no_thread_is_told_of_by_who_reaps_or_drains_again() {
    for reaps in [true, false] {
        let (told, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let cache = left(&told, &done);
        assert_eq!(told.load(Ordering::Relaxed), 0);
        if reaps {
            assert_eq!(cache.reap(), Ok(0));
        } else {
            let again = Done {
                call: |_| unreachable!(),
                function: 0,
                arg: 0,
            };
            assert_eq!(cache.inner().drain(Some(again)), Err(Errno::EALREADY));
        }
        assert_eq!(told.load(Ordering::Relaxed), 1);
        assert_eq!(done.load(Ordering::Relaxed), 1);
        assert_eq!(cache.may_be_destroyed(), Ok(()));
    }
}
