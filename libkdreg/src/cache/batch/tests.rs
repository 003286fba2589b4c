// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lists on a backend that watches many at once: one call for all that miss, no
//! stale entry, and after a failure nothing that was not there before.

use super::super::{Cache, Handle, Options, Registrar};
use super::*;
use crate::monitor::manual::{Manual, Share};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const PAGE: usize = 4096;

/// Fails, or changes memory, at one of its calls.
#[derive(Default)]
struct Device {
    calls: AtomicUsize,
    live: Arc<AtomicUsize>,
    fails_at: usize,
    changes_at: usize,
    changed: Option<(Share<Manual>, Range)>,
}

impl Registrar for Device {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if call == self.changes_at {
            let (manual, changed) = self.changed.as_ref().unwrap();
            manual.change(*changed);
        }
        if call == self.fails_at {
            return Err(Errno::EPERM);
        }
        self.live.fetch_add(1, Ordering::Relaxed);
        Ok(Handle(range.start()))
    }

    fn deregister(&self, _range: Range, _handle: Handle) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }
}

struct List {
    ranges: Vec<Range>,
    entries: Vec<*const Entry>,
}

impl List {
    /// `count` ranges of a page each, so many pages from one to the next.
    fn new(count: usize, apart: usize) -> List {
        let page = |place: usize| (1 + place * apart) * PAGE;
        List {
            ranges: (0..count)
                .map(|place| Range::between(page(place), page(place) + PAGE))
                .collect(),
            entries: vec![std::ptr::null(); count],
        }
    }
}

impl Scattered for List {
    fn count(&self) -> usize {
        self.ranges.len()
    }
    fn range(&self, place: usize) -> Range {
        self.ranges[place]
    }
    fn entry(&self, place: usize) -> *const Entry {
        self.entries[place]
    }
    fn set(&mut self, place: usize, entry: *const Entry) {
        self.entries[place] = entry;
    }
}

struct Bed {
    manual: Share<Manual>,
    cache: Cache,
    live: Arc<AtomicUsize>,
}

impl Bed {
    fn new(options: Options, device: impl FnOnce(&Share<Manual>) -> Device) -> Bed {
        let (manual, monitor) = Manual::open().unwrap();
        let device = device(&manual);
        let live = device.live.clone();
        let options = Options {
            no_reaper: true,
            ..options
        };
        let cache = Cache::new(&monitor, options, Box::new(device)).unwrap();
        Bed {
            manual,
            cache,
            live,
        }
    }

    fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Nothing is left of what was done ahead.
    fn is_even(&self) {
        let state = self.cache.inner.state.lock();
        assert_eq!(state.taken, self.live());
        assert_eq!(self.manual.watched() as usize, state.cached);
        assert_eq!(state.promised, 0);
    }
}

#[test]
fn what_misses_is_watched_in_one_call() {
    for count in [2, 31, 32, 33, 64, 500] {
        let bed = Bed::new(Options::default(), |_| Device::default());
        let mut list = List::new(count, 3);
        bed.cache.inner.get_all(&mut list, 1).unwrap();
        assert_eq!(bed.manual.asked(), 1);
        assert_eq!(
            (bed.live(), bed.cache.statistics().unwrap().misses as usize),
            (count, count)
        );
        for (place, &entry) in list.entries.iter().enumerate() {
            // SAFETY: held.
            let entry = unsafe { &*entry };
            assert_eq!(entry.range(), list.ranges[place]);
            assert!(bed.cache.inner.is_current(entry));
        }
        bed.is_even();
        bed.cache.inner.put_all(&mut list).unwrap();
        // What is watched is what is found, range by range.
        bed.manual.change(list.ranges[count / 2]);
        bed.cache.inner.get_all(&mut list, 1).unwrap();
        assert_eq!((bed.manual.asked(), bed.live()), (2, count));
        bed.is_even();
        bed.cache.inner.put_all(&mut list).unwrap();
    }
}

#[test]
fn what_others_have_to_do_with_takes_its_own_course() {
    let lists = [List::new(64, 1), List::new(64, 2)];
    for (mut list, repeat) in lists.into_iter().zip([1, 3]) {
        let once = list.ranges.clone();
        for _ in 1..repeat {
            list.ranges.extend(&once);
        }
        list.entries = vec![std::ptr::null(); list.ranges.len()];
        let bed = Bed::new(Options::default(), |_| Device::default());
        bed.cache.inner.get_all(&mut list, 1).unwrap();
        for (place, &entry) in list.entries.iter().enumerate() {
            // SAFETY: held.
            assert!(unsafe { &*entry }.range().contains(list.ranges[place]));
        }
        bed.cache.inner.put_all(&mut list).unwrap();
        bed.cache.reap().unwrap();
        bed.cache.flush().unwrap();
        bed.is_even();
        assert_eq!(bed.live(), 0);
    }
}

#[test]
fn after_a_failure_nothing_is_left() {
    const COUNT: usize = 70;
    for fails_at in 1..=COUNT {
        let bed = Bed::new(Options::default(), |_| Device {
            fails_at: 4 + fails_at,
            ..Device::default()
        });
        let mut before = List::new(5, 7000);
        before.ranges.remove(0);
        before.entries.remove(0);
        bed.cache.inner.get_all(&mut before, 1).unwrap();
        bed.cache.inner.put_all(&mut before).unwrap();
        let mut list = List::new(COUNT, 2);
        assert_eq!(bed.cache.inner.get_all(&mut list, 1), Err(Errno::EPERM));
        assert!(list.entries.iter().all(|entry| entry.is_null()));
        // Those from before are there.
        assert_eq!(bed.live(), 4);
        bed.is_even();
        for &range in &before.ranges {
            assert!(bed.cache.find(range, 1).is_ok());
        }
    }
}

#[test]
fn what_changes_before_its_turn_is_registered_anew() {
    const COUNT: usize = 40;
    for changes_at in 1..=COUNT {
        let mut list = List::new(COUNT, 2);
        let changed = list.ranges[7 * changes_at % COUNT];
        let bed = Bed::new(Options::default(), |manual| Device {
            changes_at,
            changed: Some((manual.clone(), changed)),
            ..Device::default()
        });
        bed.cache.inner.get_all(&mut list, 1).unwrap();
        // Changed before it was registered, or while: registered once more. After: stale.
        let place = 7 * changes_at % COUNT;
        // SAFETY: held.
        let current = |entry: *const Entry| bed.cache.inner.is_current(unsafe { &*entry });
        for (other, &entry) in list.entries.iter().enumerate() {
            assert_eq!(current(entry), other != place || place + 1 >= changes_at);
        }
        bed.cache.inner.put_all(&mut list).unwrap();
        bed.cache.reap().unwrap();
        bed.is_even();
    }
}

#[test]
fn limits_hold() {
    let options = Options {
        max_entries: 10,
        ..Options::default()
    };
    let bed = Bed::new(options, |_| Device::default());
    for _ in 0..3 {
        let mut list = List::new(64, 2);
        bed.cache.inner.get_all(&mut list, 1).unwrap();
        assert_eq!(bed.live(), 64);
        bed.cache.inner.put_all(&mut list).unwrap();
        assert_eq!(bed.live(), 10);
        bed.is_even();
    }
}
