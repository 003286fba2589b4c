// SPDX-License-Identifier: MIT OR Apache-2.0
//! loom models of who waits for whom when a cache ends: its group's visitors
//! (`cache/group.rs`), and gets under way while it is drained (`cache/drop.rs`).
//! The steps are those of the library, each under the lock that it takes there;
//! what a lookup and an eviction do to an entry is in `models.rs`.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// A cache in its group: `insides` is what a visitor uses, and who ends it frees.
struct Grouped {
    members: Mutex<Member>,
    over: Condvar,
    /// The lock of the cache, taken inside the members'.
    state: Mutex<u32>,
    insides: UnsafeCell<u32>,
}

struct Member {
    there: bool,
    leaving: bool,
    visitors: u32,
}

impl Grouped {
    fn new() -> Arc<Grouped> {
        Arc::new(Grouped {
            members: Mutex::new(Member {
                there: true,
                leaving: false,
                visitors: 0,
            }),
            over: Condvar::new(),
            state: Mutex::new(1),
            insides: UnsafeCell::new(1),
        })
    }

    /// Evicts its entry, if it has one, on behalf of another cache, and calls its
    /// callback.
    fn evict(&self) -> bool {
        {
            let mut member = self.members.lock().unwrap();
            if !member.there || member.leaving {
                return false;
            }
            let mut entries = self.state.lock().unwrap();
            if *entries == 0 {
                return false;
            }
            *entries -= 1;
            member.visitors += 1;
        }
        // SAFETY: a visitor's; loom checks that it is not gone.
        self.insides
            .with(|insides| assert_eq!(unsafe { *insides }, 1));
        // The slot is given back, while it is visited.
        drop(self.state.lock().unwrap());
        self.members.lock().unwrap().visitors -= 1;
        self.over.notify_all();
        true
    }

    /// A miss of its own: its lock alone, and the members' when that is let go.
    fn insert(&self) {
        *self.state.lock().unwrap() += 1;
        let _members = self.members.lock().unwrap();
        let _state = self.state.lock().unwrap();
    }

    fn end(&self) {
        let mut member = self.members.lock().unwrap();
        member.leaving = true;
        while member.visitors > 0 {
            member = self.over.wait(member).unwrap();
        }
        member.there = false;
        drop(member);
        // SAFETY: nobody visits any more; loom checks it.
        self.insides.with_mut(|insides| unsafe { *insides = 0 });
    }
}

/// A cache that ends is not gone while others evict from it, and is waited for by
/// nobody.
#[test]
fn a_cache_outlives_its_visitors() {
    explore(|| {
        let cache = Grouped::new();
        let visitors: Vec<_> = (0..2)
            .map(|_| {
                let cache = cache.clone();
                thread::spawn(move || cache.evict())
            })
            .collect();
        cache.end();
        let evicted = (visitors.into_iter()).map(|visitor| u32::from(visitor.join().unwrap()));
        assert!(evicted.sum::<u32>() <= 1);
    });
}

/// Two caches of a group that register and evict in each other do not wait in a
/// circle: loom finds deadlocks.
#[test]
fn two_caches_evict_in_each_other() {
    explore(|| {
        let cache = Grouped::new();
        let other = cache.clone();
        let one = thread::spawn(move || {
            other.insert();
            other.evict();
        });
        cache.evict();
        cache.insert();
        one.join().unwrap();
        cache.end();
    });
}

/// A cache that is drained, of which one entry is there.
struct Drained {
    state: Mutex<State>,
    /// A look that spares the lock.
    draining: AtomicBool,
    /// What a registration uses; whoever is told that it is drained frees it.
    insides: UnsafeCell<u32>,
    told: AtomicBool,
}

struct State {
    draining: bool,
    drained: bool,
    taken: u32,
    live: u32,
}

impl Drained {
    fn finish(&self) {
        {
            let mut state = self.state.lock().unwrap();
            if state.taken > 0 || !state.drained {
                return;
            }
            state.drained = false;
        }
        assert!(!self.told.swap(true, Ordering::Relaxed), "told twice");
        // SAFETY: nothing is registered any more; loom checks it.
        self.insides.with_mut(|insides| unsafe { *insides = 0 });
    }

    /// Deregisters, gives the slot back, and tells, if it was the last.
    fn release(&self) {
        // SAFETY: a slot is taken; loom checks that it is not gone.
        self.insides
            .with(|insides| assert_eq!(unsafe { *insides }, 1));
        self.state.lock().unwrap().taken -= 1;
        if self.draining.load(Ordering::Relaxed) {
            self.finish();
        }
    }

    /// A get that misses, and its put.
    fn get(&self) {
        {
            let mut state = self.state.lock().unwrap();
            if state.draining {
                return;
            }
            state.taken += 1;
        }
        // SAFETY: as above.
        self.insides
            .with(|insides| assert_eq!(unsafe { *insides }, 1));
        let stands = {
            let mut state = self.state.lock().unwrap();
            if !state.draining {
                state.live += 1;
            }
            !state.draining
        };
        if !stands {
            // Its own alone: released at its put.
            self.release();
        }
    }

    fn drain(&self) {
        {
            let mut state = self.state.lock().unwrap();
            state.drained = true;
            state.draining = true;
            self.draining.store(true, Ordering::Relaxed);
        }
        let dropped = std::mem::take(&mut self.state.lock().unwrap().live);
        for _ in 0..dropped {
            self.release();
        }
        self.finish();
    }
}

/// Who drains is told once, when nothing is registered and nothing will be,
/// whichever of the gets under way comes before or after.
#[test]
fn a_drain_is_over_when_the_last_get_is() {
    explore(|| {
        let cache = Arc::new(Drained {
            state: Mutex::new(State {
                draining: false,
                drained: false,
                taken: 1,
                live: 1,
            }),
            draining: AtomicBool::new(false),
            insides: UnsafeCell::new(1),
            told: AtomicBool::new(false),
        });
        let gets: Vec<_> = (0..2)
            .map(|_| {
                let cache = cache.clone();
                thread::spawn(move || cache.get())
            })
            .collect();
        cache.drain();
        gets.into_iter().for_each(|get| get.join().unwrap());
        assert!(cache.told.load(Ordering::Relaxed), "never told");
    });
}
