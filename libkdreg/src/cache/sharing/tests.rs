// SPDX-License-Identifier: MIT OR Apache-2.0
//! What several threads use comes to be shared, and is an entry like any other.

use super::super::{Cache, Handle, Held, Options, Registrar};
use super::*;
use crate::errno::Errno;
use crate::monitor::manual::Manual;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Barrier};

const PAGE: usize = 4096;

/// Counts what is registered now.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

impl Registrar for Counting {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Handle(range.start()))
    }

    fn deregister(&self, _range: Range, _handle: Handle) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn region(index: usize) -> Range {
    Range::new((1 << 32) + index * 4 * PAGE, PAGE).unwrap()
}

/// With a cache that has room for so many entries. Places are the process's:
/// tests that want them do not run side by side.
fn with_cache(max_entries: usize, test: impl FnOnce(&Cache, &Manual)) {
    if !barrier::is_available() {
        eprintln!("skipped: membarrier(2) is refused here");
        return;
    }
    static ALONE: crate::lock::Mutex<()> = crate::lock::Mutex::new(());
    let _alone = ALONE.lock();
    let (manual, monitor) = Manual::open().unwrap();
    let options = Options {
        max_entries,
        no_reaper: true,
        ..Options::default()
    };
    let counting = Counting::default();
    let cache = Cache::new(&monitor, options, Box::new(counting.clone())).unwrap();
    test(&cache, &manual);
    let entries = cache.statistics().unwrap().entries as usize;
    assert_eq!(counting.0.load(Ordering::Relaxed), entries, "in use");
    drop(cache);
    assert_eq!(counting.0.load(Ordering::Relaxed), 0);
    assert_eq!(
        thread_registry::owners().shared_from(0).count(),
        0,
        "a place is lost"
    );
}

fn get<'a>(cache: &'a Cache, index: usize) -> Held<'a> {
    cache.get(region(index), 1).unwrap()
}

/// The entry of a region that is cached, and which nobody counts on for this.
fn entry(cache: &Cache, index: usize) -> &Entry {
    get(cache, index).entry
}

/// Two threads use each region in turn; the calling one is the second.
fn take_turns(cache: &Cache, regions: &[usize], turns: usize) {
    let (first, second) = (Barrier::new(2), Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..turns {
                regions.iter().for_each(|&index| drop(get(cache, index)));
                first.wait();
                second.wait();
            }
        });
        for _ in 0..turns {
            first.wait();
            regions.iter().for_each(|&index| drop(get(cache, index)));
            second.wait();
        }
    });
}

fn share(cache: &Cache, index: usize) -> &Entry {
    take_turns(cache, &[index], 2 * TURNS as usize);
    let entry = entry(cache, index);
    assert!(entry.refs.is_shared());
    entry
}

#[test]
fn what_two_threads_use_in_turn_is_shared() {
    with_cache(10, |cache, _| {
        let shared = share(cache, 0);
        drop(get(cache, 1));
        assert!(!entry(cache, 1).refs.is_shared(), "one thread's own");
        let hits = cache.statistics().unwrap().hits;
        let held = [get(cache, 0), get(cache, 0)];
        assert_eq!(shared.refs.count(thread_registry::owners()), 2);
        assert!(std::thread::scope(|scope| {
            scope.spawn(|| drop(get(cache, 0)));
            cache.inner.any_in_use()
        }));
        drop(held);
        assert_eq!(shared.refs.count(thread_registry::owners()), 0);
        assert!(!cache.inner.any_in_use());
        assert_eq!(cache.statistics().unwrap().hits, hits + 3);
        assert!(shared.refs.is_shared());
    });
}

#[test]
fn a_shared_entry_in_use_is_not_evicted_and_an_idle_one_is() {
    with_cache(2, |cache, _| {
        let shared = share(cache, 0);
        let held = get(cache, 0);
        for other in 1..5 {
            drop(get(cache, other));
        }
        assert!(shared.refs.is_live() && held.is_valid());
        drop(held);
        for other in 1..5 {
            drop(get(cache, other));
        }
        let misses = cache.statistics().unwrap().misses;
        drop(get(cache, 0));
        assert_eq!(cache.statistics().unwrap().misses, misses + 1);
    });
}

/// A stamp may be late, and still what is used all the time stays.
#[test]
fn a_shared_entry_in_steady_use_outlives_the_others() {
    with_cache(8, |cache, _| {
        share(cache, 0);
        let misses = cache.statistics().unwrap().misses;
        for other in 1..100 {
            drop(get(cache, other));
            drop(get(cache, 0));
        }
        assert_eq!(cache.statistics().unwrap().misses, misses + 99);
    });
}

#[test]
fn a_change_ends_a_shared_entry() {
    with_cache(10, |cache, manual| {
        let shared = share(cache, 0);
        let held = get(cache, 0);
        manual.change(region(0));
        assert!(!held.is_valid());
        assert!(matches!(cache.find(region(0), 1), Err(Errno::ENOENT)));
        assert!(shared.refs.is_shared());
        assert_eq!(cache.reap().unwrap(), 0, "in use");
        assert!(!shared.refs.is_live());
        // Its last user is another thread.
        std::thread::scope(|scope| scope.spawn(|| drop(held)).join().unwrap());
        assert_eq!(cache.statistics().unwrap().entries, 0);
    });
}

#[test]
fn nobody_puts_back_what_is_not_held() {
    with_cache(10, |cache, _| {
        let shared = share(cache, 0);
        let put = || cache.inner.put_checked(shared);
        assert_eq!(put(), Err(Errno::EINVAL));
        share(cache, 0);
        get(cache, 0).into_raw();
        assert_eq!(put(), Ok(()));
        assert_eq!(put(), Err(Errno::EINVAL));
        share(cache, 0);
        // Another thread's, by way of the word; then this thread's own count
        // is not to be believed.
        get(cache, 0).into_raw();
        get(cache, 0).into_raw();
        let other = || std::thread::scope(|scope| scope.spawn(put).join().unwrap());
        assert_eq!(other(), Ok(()));
        assert_eq!(put(), Ok(()));
        assert_eq!(put(), Err(Errno::EINVAL));
        assert_eq!(other(), Err(Errno::EINVAL));
    });
}

#[test]
fn where_all_places_are_lent_one_gives_way() {
    with_cache(100, |cache, _| {
        let regions: Vec<usize> = (0..crate::sync::PLACES).collect();
        let shared = || {
            regions
                .iter()
                .filter(|&&index| entry(cache, index).refs.is_shared())
                .count()
        };
        while shared() < regions.len() {
            take_turns(cache, &regions, TURNS as usize);
        }
        assert!(!thread_registry::owners().can_lend());
        take_turns(cache, &[50], TURNS_IN_NEED as usize + 1);
        assert!(entry(cache, 50).refs.is_shared());
        assert_eq!(shared(), regions.len() - 1);
    });
}

#[test]
fn an_entry_is_shared_no_longer_when_one_thread_uses_it() {
    with_cache(10, |cache, _| {
        let shared = share(cache, 0);
        for _ in 0..TRIALS {
            drop(get(cache, 0));
        }
        assert!(!shared.refs.is_shared());
        drop(get(cache, 0));
        assert!(shared.refs.is_counted_apart());
    });
}

/// One put by another thread keeps the users from counting for themselves, but
/// not for long.
#[test]
fn after_a_put_by_another_thread_users_count_for_themselves_again() {
    with_cache(10, |cache, _| {
        let shared = share(cache, 0);
        let held = get(cache, 0);
        std::thread::scope(|scope| scope.spawn(|| drop(held)).join().unwrap());
        let elsewhere = || {
            let shard = &cache.inner.shards[thread_registry::number()];
            shard.elsewhere.load(Ordering::Relaxed)
        };
        let mut last = elsewhere();
        drop(get(cache, 0));
        assert_eq!(elsewhere(), last + 1, "in the word");
        for _ in 0..2 * ELSEWHERE {
            drop(get(cache, 0));
        }
        last = elsewhere();
        drop(get(cache, 0));
        assert!(shared.refs.is_shared());
        assert_eq!(elsewhere(), last, "where it counts");
        assert_eq!(shared.refs.count(thread_registry::owners()), 0);
    });
}

/// An owner of whose references another thread put one back.
#[test]
fn after_a_put_by_another_thread_the_owner_counts_for_itself_again() {
    with_cache(10, |cache, _| {
        (0..3).for_each(|_| drop(get(cache, 0)));
        let own = entry(cache, 0);
        let puts_quickly = || {
            let quickly = cache.inner.put_quickly(get(cache, 0).into_raw());
            if !quickly {
                cache.inner.put(own);
            }
            quickly
        };
        assert!(puts_quickly());
        let held = get(cache, 0);
        std::thread::scope(|scope| scope.spawn(|| drop(held)).join().unwrap());
        assert!(!puts_quickly(), "below zero");
        (0..2 * ELSEWHERE).for_each(|_| drop(get(cache, 0)));
        assert!(puts_quickly());
        assert_eq!(own.refs.count(thread_registry::owners()), 0);
    });
}

/// Where one thread puts back what others took, it ends, and comes back ever
/// more rarely.
#[test]
fn what_others_put_back_is_shared_no_longer() {
    with_cache(10, |cache, _| {
        for lesson in 1..3 {
            take_turns(cache, &[0], (4 * TURNS as usize) << lesson);
            let shared = entry(cache, 0);
            assert!(shared.refs.is_shared());
            let (parcels, received) = std::sync::mpsc::channel();
            std::thread::scope(|scope| {
                scope.spawn(move || received.into_iter().for_each(drop::<Held<'_>>));
                for _ in 0..ELSEWHERE {
                    parcels.send(get(cache, 0)).unwrap();
                }
                drop(parcels);
            });
            assert!(!shared.refs.is_shared());
            assert_eq!(cache.inner.lessons.load(Ordering::Relaxed), lesson);
        }
    });
}

/// Uses that no stamp tells of are none that a colder entry could have been
/// registered after.
#[test]
fn the_coldest_goes_though_stamps_are_late() {
    with_cache(4, |cache, _| {
        share(cache, 0);
        let misses = || cache.statistics().unwrap().misses;
        for index in [1, 2, 3, 0] {
            drop(get(cache, index));
        }
        let mut before = misses();
        for new in 4..100 {
            drop(get(cache, new));
            for index in [new, 0, new - 1, 0] {
                drop(get(cache, index));
            }
            before += 1;
            assert_eq!(misses(), before, "{new}");
        }
    });
}
