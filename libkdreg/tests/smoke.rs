// SPDX-License-Identifier: MIT OR Apache-2.0
//! The library on real memory, through the Rust API.

mod mapping;

use kdreg::cache::{Cache, Handle, Options, Registrar};
use kdreg::errno::Errno;
use kdreg::monitor::{self, Event, Kind, Monitor, Reason};
use kdreg::range::Range;
use mapping::{map, unmap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Default)]
struct Counting {
    registered: AtomicUsize,
    deregistered: AtomicUsize,
}

struct Device(Arc<Counting>);

impl Registrar for Device {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        self.0.registered.fetch_add(1, Ordering::SeqCst);
        Ok(Handle(range.start()))
    }
    fn deregister(&self, range: Range, handle: Handle) {
        assert_eq!(handle.0, range.start());
        self.0.deregistered.fetch_add(1, Ordering::SeqCst);
    }
}

/// One test at a time: they share the process's addresses, and the event of
/// one test's munmap may mark what another has mapped there since.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn userfaultfd() -> Monitor {
    let options = monitor::Options {
        backend: Some(Kind::Userfaultfd),
        ..monitor::Options::default()
    };
    Monitor::open(&options).unwrap()
}

/// A cache with the default options, and what it had its device do.
fn counted_cache() -> (Cache, Arc<Counting>) {
    let counting = Arc::new(Counting::default());
    let monitor = userfaultfd();
    let cache = Cache::new(
        &monitor,
        Options::default(),
        Box::new(Device(counting.clone())),
    )
    .unwrap();
    (cache, counting)
}

#[test]
fn munmap_is_seen_before_it_returns() {
    let _alone = alone();
    let monitor = userfaultfd();
    let mut proven = 0;
    for _ in 0..1000 {
        let range = map(64 * 1024);
        let region = monitor.monitor(range, 42).unwrap();
        // It may have been marked already, by the event of the last round's
        // munmap of the same address.
        proven += usize::from((0..100).any(|_| monitor.is_valid(region)));
        unmap(range);
        assert!(!monitor.is_valid(region));
        let mut events = [Event::default(); 2];
        let mut taken = 0;
        while taken == 0 {
            taken = monitor.drain(&mut events).unwrap();
        }
        assert_eq!(
            events[0],
            Event {
                cookie: 42,
                range: Some(range),
                reason: Reason::Unmap
            }
        );
    }
    assert!(proven > 0);
}

#[test]
fn a_cached_registration_is_found_until_its_memory_goes() {
    let _alone = alone();
    let (cache, counting) = counted_cache();
    let range = map(1 << 20);
    for _ in 0..10 {
        let held = cache.get(range, 1).unwrap();
        assert!(held.range().contains(range));
    }
    assert_eq!(counting.registered.load(Ordering::SeqCst), 1);
    let statistics = cache.statistics().unwrap();
    assert_eq!((statistics.hits, statistics.misses), (9, 1));
    unmap(range);
    assert!(matches!(cache.find(range, 1), Err(Errno::ENOENT)));
    assert!(matches!(cache.get(range, 1), Err(Errno::EFAULT)));
    drop(cache);
    assert_eq!(counting.deregistered.load(Ordering::SeqCst), 1);
}

#[test]
fn unmapped_memory_does_not_stay_registered() {
    let _alone = alone();
    let (cache, counting) = counted_cache();
    let range = map(1 << 20);
    drop(cache.get(range, 1).unwrap());
    unmap(range);
    // Nobody calls the cache: the reaper releases by itself.
    while counting.deregistered.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
}
