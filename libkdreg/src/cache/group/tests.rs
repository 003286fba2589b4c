// SPDX-License-Identifier: MIT OR Apache-2.0
//! Caches that make room for each other.

use super::super::state::State;
use super::super::{Cache, Handle, Options, Registrar};
use super::*;
use crate::monitor::Monitor;
use crate::monitor::manual::Manual;
use crate::range::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

const PAGE: usize = 4096;

/// What the devices of several caches have registered together, and may.
#[derive(Default)]
struct Host {
    pages: AtomicUsize,
    peak: AtomicUsize,
    /// Pages; 0: no limit.
    limit: AtomicUsize,
}

struct Device(Arc<Host>);

impl Registrar for Device {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        let host = &*self.0;
        let limit = host.limit.load(Ordering::SeqCst);
        let more = |pages: usize| {
            let pages = pages + range.len() / PAGE;
            (limit == 0 || pages <= limit).then_some(pages)
        };
        let before = (host.pages)
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .map_err(|_| Errno::ENOMEM)?;
        host.peak
            .fetch_max(before + range.len() / PAGE, Ordering::SeqCst);
        Ok(Handle(range.start()))
    }

    fn deregister(&self, range: Range, _handle: Handle) {
        self.0.pages.fetch_sub(range.len() / PAGE, Ordering::SeqCst);
    }
}

fn group(max_entries: usize, max_pages: usize) -> Group {
    Group::new(&GroupOptions {
        max_entries,
        max_bytes: max_pages * PAGE,
        memlock: false,
    })
    .unwrap()
}

fn options(group: &Group) -> Options {
    Options {
        no_reaper: true,
        no_merge: true,
        group: Some(group.clone()),
        ..Options::default()
    }
}

fn cache(monitor: &Monitor, group: &Group, host: &Arc<Host>) -> Cache {
    Cache::new(monitor, options(group), Box::new(Device(host.clone()))).unwrap()
}

fn pages(first: usize, count: usize) -> Range {
    Range::new((1 << 32) + first * PAGE, count * PAGE).unwrap()
}

fn touch(cache: &Cache, page: usize) {
    drop(cache.get(pages(2 * page, 1), 1).unwrap());
}

/// Whether it is there; that is no use of it.
fn has(cache: &Cache, page: usize) -> bool {
    let used = cache.inner.state.lock().used_slots();
    (State::FIRST_SLOT..used).any(|index| {
        let entry = cache.inner.entries.at(index);
        entry.refs.is_live() && entry.range() == pages(2 * page, 1)
    })
}

#[test]
fn the_least_recently_used_of_all_goes() {
    let (_manual, monitor) = Manual::open().unwrap();
    let (group, host) = (group(6, 0), Arc::default());
    let caches: [Cache; 3] = std::array::from_fn(|_| cache(&monitor, &group, &host));
    let [a, b, c] = &caches;
    for page in 0..2 {
        // Many uses here do not make others older.
        (0..100).for_each(|_| touch(a, page));
        touch(b, page);
        touch(c, page);
    }
    // Used again, each since a registration after the last use of the others.
    touch(a, 0);
    touch(b, 10); // instead of b's 0
    assert!(!has(b, 0) && has(a, 0));
    touch(c, 0);
    touch(c, 10); // instead of a's 1
    assert!(!has(a, 1) && has(c, 0));
    touch(a, 11); // b's 1
    assert!(!has(b, 1));
    touch(a, 12); // c's 1
    assert!(!has(c, 1) && has(b, 10) && has(a, 0));
    let counts = caches.each_ref().map(|c| c.statistics().unwrap());
    assert_eq!(counts.map(|c| c.evictions), [1, 2, 1]);
    assert_eq!(counts.iter().map(|c| c.entries).sum::<u64>(), 6);
    assert_eq!(host.peak.load(Ordering::SeqCst), 6);
}

#[test]
fn bytes_are_shared_and_what_cannot_fit_evicts_nothing() {
    let (_manual, monitor) = Manual::open().unwrap();
    let (group, host) = (group(0, 8), Arc::default());
    let [a, b]: [Cache; 2] = std::array::from_fn(|_| cache(&monitor, &group, &host));
    (0..4).for_each(|page| touch(&a, page));
    (0..4).for_each(|page| touch(&b, page));
    // Two of a's go for it, the oldest of all.
    drop(b.get(pages(100, 2), 1).unwrap());
    assert_eq!(a.statistics().unwrap().entries, 2);
    // Not with everything gone.
    drop(a.get(pages(200, 9), 1).unwrap());
    assert_eq!(a.statistics().unwrap().uncached, 1);
    // Nor with all that is not in use.
    let held = b.get(pages(100, 2), 1).unwrap();
    drop(a.get(pages(300, 7), 1).unwrap());
    let [of_a, of_b] = [&a, &b].map(|cache| cache.statistics().unwrap());
    assert_eq!((of_a.uncached, of_a.entries, of_b.entries), (2, 2, 5));
    drop(a.get(pages(300, 6), 1).unwrap());
    drop(held);
    assert_eq!(b.statistics().unwrap().entries, 1);
    // What it takes the place of is not counted twice.
    drop(a.get(pages(300, 6), 2).unwrap());
    assert_eq!(b.statistics().unwrap().entries, 1);
    assert_eq!(a.statistics().unwrap().uncached, 2);
}

#[test]
fn what_one_lacks_memory_for_the_others_give() {
    let (_manual, monitor) = Manual::open().unwrap();
    let (group, host) = (group(0, 0), Arc::<Host>::default());
    host.limit.store(4, Ordering::SeqCst);
    let [a, b]: [Cache; 2] = std::array::from_fn(|_| cache(&monitor, &group, &host));
    (0..4).for_each(|page| touch(&a, page));
    let held = a.get(pages(0, 1), 1).unwrap();
    touch(&b, 0);
    assert!(!has(&a, 1) && has(&a, 2));
    touch(&b, 1);
    touch(&b, 2);
    // Its own is the oldest by now.
    touch(&b, 3);
    assert!(!has(&b, 0) && has(&b, 3));
    assert_eq!(b.get(pages(100, 4), 1).err(), Some(Errno::ENOMEM));
    // It may have evicted: so it is said.
    drop(held);
    assert_eq!(host.pages.load(Ordering::SeqCst), 1);
    drop(b.get(pages(100, 4), 1).unwrap());
    assert_eq!(a.statistics().unwrap().entries, 0);
}

/// What another one only left to be deregistered is in the way, too.
#[test]
fn backlogs_are_released_before_anything_is_evicted() {
    let (_manual, monitor) = Manual::open().unwrap();
    let (group, host) = (group(0, 0), Arc::<Host>::default());
    host.limit.store(2, Ordering::SeqCst);
    let lazily = Options {
        max_unreleased: 1 << 20,
        ..options(&group)
    };
    let a = Cache::new(&monitor, lazily, Box::new(Device(host.clone()))).unwrap();
    let b = cache(&monitor, &group, &host);
    touch(&a, 0);
    touch(&a, 1);
    a.invalidate(pages(0, 1)).unwrap();
    assert_eq!(host.pages.load(Ordering::SeqCst), 2);
    touch(&b, 0);
    assert!(has(&a, 1));
}

#[test]
fn all_are_evicted_on_request() {
    let (_manual, monitor) = Manual::open().unwrap();
    let (group, host) = (group(0, 0), Arc::default());
    let [a, b]: [Cache; 2] = std::array::from_fn(|_| cache(&monitor, &group, &host));
    assert_eq!(group.evict(usize::MAX), Ok(0));
    (0..3).for_each(|page| touch(&a, page));
    (0..3).for_each(|page| touch(&b, page));
    touch(&a, 0);
    assert_eq!(group.evict(0), Ok(0));
    assert_eq!(group.evict(2 * PAGE + 1), Ok(3));
    assert!(has(&a, 0) && !has(&a, 2) && !has(&b, 0) && has(&b, 1));
    let held = b.get(pages(2, 1), 1).unwrap();
    assert_eq!(group.evict(usize::MAX), Ok(2));
    drop(held);
    assert_eq!(group.may_be_destroyed(), Err(Errno::EBUSY));
    drop((a, b));
    assert_eq!(group.may_be_destroyed(), Ok(()));
}

/// Says that it deregisters, and waits to be told to go on.
struct Slow {
    begun: Sender<()>,
    go_on: Mutex<Receiver<()>>,
    over: Arc<AtomicBool>,
}

impl Registrar for Slow {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        Ok(Handle(range.start()))
    }

    fn deregister(&self, _range: Range, _handle: Handle) {
        let _ = self.begun.send(());
        let _ = self.go_on.lock().recv();
        self.over.store(true, Ordering::SeqCst);
    }
}

/// A cache is there until others are done with it, and others see no more of it.
#[test]
fn a_cache_that_ends_waits_for_who_evicts_from_it() {
    let (_manual, monitor) = Manual::open().unwrap();
    let (group, host) = (group(1, 0), Arc::default());
    let (begun, has_begun) = channel();
    let (go_on, goes_on) = channel();
    let over = Arc::new(AtomicBool::new(false));
    let slow = Slow {
        begun,
        go_on: Mutex::new(goes_on),
        over: over.clone(),
    };
    let a = cache(&monitor, &group, &host);
    let b = Cache::new(&monitor, options(&group), Box::new(slow)).unwrap();
    let inner = b.inner.clone();
    touch(&b, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| touch(&a, 0));
        has_begun.recv().unwrap();
        scope.spawn(|| {
            drop(b);
            assert!(over.load(Ordering::SeqCst), "gone while it is called");
        });
        // Until it waits, or is through with it.
        let is_leaving = || {
            let mut members = group.pool.members.lock();
            find(&mut members, &inner).is_none_or(|member| member.leaving)
        };
        while !is_leaving() {
            std::thread::yield_now();
        }
        assert!(group.has(inner.as_ptr()), "left while it is called");
        // It is in nobody's way meanwhile.
        touch(&a, 1);
        go_on.send(()).unwrap();
    });
    assert!(!group.has(inner.as_ptr()));
    assert_eq!(a.statistics().unwrap().entries, 1);
}

/// Threads that evict in each other's caches, while others come and go.
#[test]
fn caches_evict_in_each_other_at_once() {
    let (_manual, monitor) = Manual::open().unwrap();
    let (group, host) = (group(0, 16), Arc::<Host>::default());
    let caches: [Cache; 3] = std::array::from_fn(|_| cache(&monitor, &group, &host));
    std::thread::scope(|scope| {
        for thread in 0..4usize {
            let (caches, group, host, monitor) = (&caches, &group, &host, &monitor);
            scope.spawn(move || {
                let mut own = cache(monitor, group, host);
                for round in 0..2000usize {
                    let page = (round * (7 + thread)) % 23;
                    touch(&caches[(round + thread) % 3], page);
                    touch(&own, page);
                    match round % 100 {
                        50 => drop(group.evict(3 * PAGE).unwrap()),
                        99 => own = cache(monitor, group, host),
                        _ => {}
                    }
                }
            });
        }
    });
    let bytes = |cache: &Cache| cache.statistics().unwrap().bytes as usize;
    assert!(caches.iter().map(bytes).sum::<usize>() <= 16 * PAGE);
    assert_eq!(group.pool.members.lock().len(), 3);
    drop(caches);
    assert_eq!(host.pages.load(Ordering::SeqCst), 0);
}
