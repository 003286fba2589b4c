// SPDX-License-Identifier: MIT OR Apache-2.0
//! A slot that a miss took is an entry's afterwards, or free: on every way out.

use super::super::state::State;
use super::super::{Cache, Handle, Options, Registrar};
use super::*;
use crate::monitor::manual::{Manual, Share};
use crate::monitor::{self, Kind, Monitor};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

const PAGE: usize = 4096;
const ROUNDS: usize = 20;

/// What `register` does besides.
enum Trouble {
    Nothing,
    /// It fails.
    Fails(Errno),
    /// The memory changes.
    Changes(Share<Manual>),
    /// Somebody else asks for the same range, and is faster.
    Rival(OnceLock<Weak<Cache>>),
}

struct Troubled {
    trouble: Trouble,
    /// Calls without.
    before: usize,
    inside: AtomicBool,
    calls: Arc<AtomicUsize>,
}

impl Registrar for Troubled {
    fn register(&self, range: Range, access: u32) -> Result<Handle, Errno> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        match &self.trouble {
            _ if call < self.before => {}
            Trouble::Nothing => {}
            Trouble::Fails(error) => return Err(*error),
            Trouble::Changes(manual) => manual.change(range),
            Trouble::Rival(cache) => {
                if let Some(cache) = cache.get().and_then(Weak::upgrade) {
                    if !self.inside.swap(true, Ordering::Relaxed) {
                        std::thread::scope(|scope| {
                            scope.spawn(|| drop(cache.get(range, access).unwrap()));
                        });
                        self.inside.store(false, Ordering::Relaxed);
                    }
                }
            }
        }
        Ok(Handle(range.start()))
    }

    fn deregister(&self, _range: Range, _handle: Handle) {}
}

struct Bed {
    cache: Arc<Cache>,
    calls: Arc<AtomicUsize>,
}

impl Bed {
    /// There is no trouble until the cache is full, if it is ever.
    fn new(monitor: &Monitor, options: Options, trouble: Trouble) -> Bed {
        let calls = Arc::new(AtomicUsize::new(0));
        let options = Options {
            no_reaper: true,
            ..options
        };
        let cache = Arc::new_cyclic(|weak: &Weak<Cache>| {
            if let Trouble::Rival(cache) = &trouble {
                cache.set(weak.clone()).unwrap();
            }
            let troubled = Troubled {
                trouble,
                before: options.max_entries,
                inside: AtomicBool::new(false),
                calls: calls.clone(),
            };
            Cache::new(monitor, options, Box::new(troubled)).unwrap()
        });
        Bed { cache, calls }
    }

    /// As many gets of ranges of so many pages; what became of them.
    fn get_and_put(&self, pages: usize) -> Vec<Result<(), Errno>> {
        let range = |round| Range::new(0x10_0000_0000 + round * 64 * PAGE, pages * PAGE).unwrap();
        let get = |round| self.cache.get(range(round), 1).map(drop);
        let results = (0..ROUNDS).map(get).collect();
        self.every_slot_is_accounted_for();
        results
    }

    fn every_slot_is_accounted_for(&self) {
        let state = self.cache.inner().state.lock();
        assert_eq!(state.promised, 0);
        assert_eq!(state.promised_bytes, 0);
        assert_eq!(
            state.free_slots() + state.cached,
            (state.used_slots() - State::FIRST_SLOT) as usize
        );
    }
}

fn few() -> Options {
    Options {
        max_entries: 3,
        ..Options::default()
    }
}

#[test]
fn when_register_fails() {
    let (manual, monitor) = Manual::open().unwrap();
    for error in [Errno::EINVAL, Errno::ENOMEM] {
        let bed = Bed::new(&monitor, Options::default(), Trouble::Fails(error));
        assert_eq!(bed.get_and_put(1), vec![Err(error); ROUNDS]);
        assert_eq!(manual.watched(), 0);
        // With something to be evicted for it.
        let bed = Bed::new(&monitor, few(), Trouble::Fails(error));
        bed.get_and_put(1);
        let counts = bed.cache.statistics().unwrap();
        assert_eq!(counts.registrations, 3);
        assert!(counts.deregistrations >= 1);
    }
}

#[test]
fn when_the_memory_changes() {
    let (manual, monitor) = Manual::open().unwrap();
    for (options, kept) in [(Options::default(), 0), (few(), 3)] {
        let trouble = Trouble::Changes(manual.clone());
        let bed = Bed::new(&monitor, options, trouble);
        assert_eq!(bed.get_and_put(1), vec![Ok(()); ROUNDS]);
        let counts = bed.cache.statistics().unwrap();
        assert_eq!(counts.uncached as usize, ROUNDS - kept);
        assert_eq!(
            counts.deregistrations + counts.entries,
            counts.registrations
        );
        assert_eq!(
            counts.registrations as usize,
            bed.calls.load(Ordering::Relaxed)
        );
        assert_eq!(u64::from(manual.watched()), counts.entries);
    }
}

#[test]
fn when_another_is_faster() {
    let (_manual, monitor) = Manual::open().unwrap();
    let bed = Bed::new(&monitor, few(), Trouble::Rival(OnceLock::new()));
    assert_eq!(bed.get_and_put(1), vec![Ok(()); ROUNDS]);
    let counts = bed.cache.statistics().unwrap();
    assert_eq!(counts.duplicates as usize, ROUNDS - 3);
    // Both make room.
    assert!(counts.entries <= 3);
}

/// Whose clock it was stamped by: the one who lost has used it, too.
#[test]
fn what_another_was_faster_with_was_used_last() {
    let (_manual, monitor) = Manual::open().unwrap();
    let bed = Bed::new(&monitor, few(), Trouble::Rival(OnceLock::new()));
    let range = |round: usize| Range::new(0x10_0000_0000 + round * 64 * PAGE, PAGE).unwrap();
    let get = |round| drop(bed.cache.get(range(round), 1).unwrap());
    (0..3).for_each(get);
    // This thread's clock is ahead of all others'.
    (0..1000).for_each(|_| get(2));
    get(3);
    get(4);
    assert!(bed.cache.find(range(2), 1).is_err());
    bed.cache.find(range(3), 1).unwrap();
}

#[test]
fn when_it_cannot_be_kept() {
    let (_manual, monitor) = Manual::open().unwrap();
    let options = Options {
        max_bytes: 8 * PAGE,
        ..Options::default()
    };
    let bed = Bed::new(&monitor, options, Trouble::Nothing);
    bed.get_and_put(9);
    assert_eq!(bed.cache.statistics().unwrap().uncached as usize, ROUNDS);
    // Several are evicted for one.
    bed.get_and_put(1);
    bed.get_and_put(7);
    let counts = bed.cache.statistics().unwrap();
    assert_eq!(counts.entries, 1);
    assert_eq!(counts.deregistrations + 1, counts.registrations);
}

#[test]
fn when_it_cannot_be_watched() {
    for kind in [Kind::None, Kind::Userfaultfd] {
        let options = monitor::Options {
            backend: Some(kind),
            ..monitor::Options::default()
        };
        let monitor = match Monitor::open(&options) {
            Ok(monitor) if monitor.kind() == kind => monitor,
            _ => {
                eprintln!("skipped: no {kind} here");
                continue;
            }
        };
        let bed = Bed::new(&monitor, Options::default(), Trouble::Nothing);
        // Nothing is mapped there.
        let expected = match kind {
            Kind::None => Ok(()),
            _ => Err(Errno::EFAULT),
        };
        assert_eq!(bed.get_and_put(1), vec![expected; ROUNDS]);
        let counts = bed.cache.statistics().unwrap();
        assert_eq!(counts.registrations, counts.uncached);
    }
}

/// A miss that finds every slot in use gives back what waits to be released.
#[test]
fn when_all_slots_are_taken_and_some_wait_to_be_released() {
    let (_manual, monitor) = Manual::open().unwrap();
    let options = Options {
        max_entries: 1,
        max_unreleased: usize::MAX,
        ..Options::default()
    };
    let bed = Bed::new(&monitor, options, Trouble::Nothing);
    let get = |round: usize| {
        let start = 0x10_0000_0000 + round * 64 * PAGE;
        bed.cache.get(Range::new(start, PAGE).unwrap(), 1)
    };
    let kept = get(0).unwrap();
    let uncached = get(1).unwrap();
    while bed.cache.inner().take_slot().is_ok() {}
    assert_eq!(get(2).map(drop), Err(Errno::ENOMEM));
    drop(uncached);
    get(2).unwrap();
    drop(kept);
}

/// What there is besides the entries is made for as many as there are, not for what
/// lies behind each.
#[test]
fn nothing_else_has_room_for_callers_bytes() {
    let (_manual, monitor) = Manual::open().unwrap();
    let options = Options {
        entry_size: 4016,
        ..Options::default()
    };
    let bed = Bed::new(&monitor, options, Trouble::Nothing);
    for page in 0..300 {
        let range = Range::new(0x10_0000_0000 + page * 2 * PAGE, PAGE).unwrap();
        drop(bed.cache.get(range, 1).unwrap());
    }
    let places = bed.cache.inner().page_index.buckets() * 8;
    assert!((2 * 300..=4 * 300).contains(&places), "{places} places");
    let entries = &bed.cache.inner().entries;
    // So that an index is one for each.
    assert_eq!(
        entries.capacity() as usize,
        bed.cache.inner().options.capacity().unwrap()
    );
    assert_eq!(entries.index_of(entries.at(7)), 7);
}
