// SPDX-License-Identifier: MIT OR Apache-2.0
//! loom models of the two small concurrent cores: the reference word of a
//! cache entry, and the guard of an asynchronous backend. The files under test
//! are compiled here a second time, over loom's atomics, so that every
//! interleaving and every allowed reordering is tried.

/// The library's fences are a compiler fence and membarrier(2): of a light and
/// a heavy one, one comes wholly before the other, which is what `SeqCst` says
/// of two fences. It says two things more, neither of which may be relied on:
///
/// * Two light ones have an order as well. That matters where each of two threads
///   reads, after its light fence, what the other wrote before its own. Light fences
///   are in `enter` alone. What is read after it, up to `leave`, is the entry's word
///   and fields, and the thread's own counts (`enter_as`, `take_at`, `put_at`). Of
///   these another thread that has no heavy fence writes the word alone, and only
///   its count, by atomic additions: state and owner change under the lock, and
///   what else is there was published with them. To one word all accesses have an
///   order without any fence. Of two words, each thread may miss what the other
///   added: it looks at the count to tell whether references of its own were put
///   back by others, who had them from it, and knew of its own count by that.
/// * A store after it is a release. So where a thread goes on to another entry,
///   loom takes the store in `enter` for one, and does not miss that of `leave`,
///   nor the order of the count before it.
///
/// tests/weak_memory has the same protocols on a machine where a light fence is no
/// operation, and a heavy one an interruption of each thread at a time of its own;
/// without `leave`'s release, and with what a compiler might do without either light
/// fence, they go wrong there.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

    pub(crate) const OWNERS: usize = 4;
    pub(crate) const PLACES: usize = 1;

    /// A thread of the model, by what it calls itself.
    #[derive(Clone, Copy)]
    pub(crate) struct Me(pub(crate) usize);

    impl Me {
        pub(crate) fn is(self, identity: usize) -> bool {
            self.0 == identity
        }
    }

    pub(crate) fn light() {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn heavy() {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn pause(_round: u32) {
        loom::thread::yield_now();
    }
}

#[path = "../src/hazard.rs"]
#[allow(
    dead_code,
    clippy::modulo_one,
    reason = "models use parts of the file, and few places"
)]
mod hazard;

#[path = "../src/cache/refs/mod.rs"]
#[allow(dead_code, unused_imports, reason = "models use parts of the files")]
mod refs;

#[path = "../src/monitor/guard.rs"]
#[allow(dead_code, reason = "models use parts of the file")]
mod guard;

use guard::{Guard, Standing};
use hazard::{Caller, Owner, Owners};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use loom::thread;
use refs::{Detach, NOBODY, Put, Refs};

/// Two threads that can own entries, and their numbers.
const FIRST: u8 = 1;
const SECOND: u8 = 2;

/// What a thread calls itself: its number, as good as any.
fn owners() -> Owners {
    let line = |number: usize| Owner {
        identity: AtomicUsize::new(if number <= usize::from(SECOND) {
            number
        } else {
            0
        }),
        inside: AtomicUsize::new(0),
        counts: [AtomicU32::new(0)],
    };
    Owners {
        lines: [line(0), line(1), line(2), line(3)],
        places: [AtomicUsize::new(0)],
        highest: AtomicUsize::new(usize::from(SECOND)),
    }
}

/// An entry whose payload is only touched by who may touch it: loom reports
/// any access that is not ordered by the reference counts.
struct Entry {
    refs: Refs,
    owners: Owners,
    payload: UnsafeCell<u32>,
    released: AtomicUsize,
}

impl Entry {
    /// A live entry, owned by a thread or by none.
    fn live(payload: u32, owner: u8) -> Arc<Entry> {
        let entry = Entry {
            refs: Refs::new(),
            owners: owners(),
            payload: UnsafeCell::new(payload),
            released: AtomicUsize::new(0),
        };
        entry.refs.publish();
        assert_eq!(entry.refs.put(), Put::Done);
        if owner == MANY {
            assert!(entry.refs.share(entry.caller(STRANGER)));
        } else if owner != NOBODY {
            entry.refs.adopt(owner);
        }
        Arc::new(entry)
    }

    fn count(&self) -> u64 {
        self.refs.count(&self.owners)
    }

    fn in_use(&self) -> bool {
        self.refs.in_use(&self.owners)
    }

    fn caller(&self, me: u8) -> Caller<'_> {
        Caller {
            owners: &self.owners,
            me: sync::Me(usize::from(me)),
        }
    }

    /// What a lookup does with an entry it found.
    fn take(&self, me: u8) -> bool {
        if self.refs.take_own(self.caller(me), || true).is_some()
            || self.refs.take_shared(&self.owners, me, || true)
        {
            return true;
        }
        match self.refs.take() {
            Ok(()) => true,
            Err(put) => {
                self.after_put(put);
                false
            }
        }
    }

    /// What the holder of a reference may do.
    fn read(&self) -> u32 {
        // SAFETY: a reference was granted; loom checks that this keeps writers
        // away.
        self.payload.with(|payload| unsafe { *payload })
    }

    fn put(&self, me: u8) {
        if !self.refs.put_own(self.caller(me)) && !self.refs.put_shared(&self.owners, me) {
            let put = self.refs.put();
            self.after_put(put);
        }
    }

    fn use_it(&self, me: u8) -> Option<u32> {
        self.take(me).then(|| {
            let seen = self.read();
            self.put(me);
            seen
        })
    }

    fn after_put(&self, put: Put) {
        assert_ne!(put, Put::NotHeld);
        if put == Put::Detached && self.refs.claim_detached() {
            self.release();
        }
    }

    /// What eviction does, by a thread that owns nothing.
    fn evict(&self) -> bool {
        let evicted = self.refs.revoke_idle(self.caller(STRANGER));
        if evicted {
            self.release();
        } else {
            self.refs.reopen(NOBODY);
        }
        evicted
    }

    /// What invalidation does.
    fn detach(&self, me: u8) -> Detach {
        self.refs.revoke(self.caller(me));
        let outcome = self.refs.detach();
        if outcome == Detach::Claimed {
            self.release();
        }
        outcome
    }

    /// The owner of a retired entry takes the payload away.
    fn release(&self) {
        // SAFETY: retired entries have one owner; loom checks it.
        self.payload.with_mut(|payload| unsafe { *payload = 0 });
        self.released.fetch_add(1, Ordering::Relaxed);
    }

    /// The slot of a released entry is given to another.
    fn live_again(&self, payload: u32) {
        self.refs.free();
        // SAFETY: as in `release`.
        self.payload.with_mut(|place| unsafe { *place = payload });
        self.refs.publish();
        assert_eq!(self.refs.put(), Put::Done);
    }

    fn released(&self) -> usize {
        self.released.load(Ordering::Relaxed)
    }
}

/// Every interleaving with at most so many switches away from a thread that
/// could go on: all of them are more than can be tried. A model whose first
/// thread never lets go before it joins is tried one way only: it is to yield
/// first.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    // Not one of loom's: it counts over all runs.
    let runs = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = runs.clone();
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    assert!(runs.load(Ordering::Relaxed) > 1, "only one way was tried");
}

/// A thread whose number no entry has.
const STRANGER: u8 = 3;

/// As an owner: all threads that use the entry.
const MANY: u8 = u8::MAX;

/// Runs a model with an entry that has no owner, with one whose owner is the
/// first thread, and with one that is shared.
fn owned_or_not(preemptions: usize, model: impl Fn(u8) + Sync + Send + Copy + 'static) {
    for owner in [NOBODY, FIRST, MANY] {
        explore(preemptions, move || model(owner));
    }
}

#[test]
fn eviction_never_takes_what_a_lookup_uses() {
    owned_or_not(3, |owner| {
        let entry = Entry::live(7, owner);
        let lookup = {
            let entry = entry.clone();
            thread::spawn(move || {
                if let Some(seen) = entry.use_it(FIRST) {
                    assert_eq!(seen, 7);
                }
            })
        };
        entry.evict();
        lookup.join().unwrap();
        assert_eq!(entry.count(), 0);
    });
}

/// A hit looks at an entry's fields before it has a reference, as plain memory.
#[test]
fn fields_hold_still_while_the_owner_is_at_the_entry() {
    explore(3, || {
        let entry = Entry::live(7, FIRST);
        let owner = {
            let entry = entry.clone();
            thread::spawn(move || {
                let at = entry.refs.enter_own(entry.caller(FIRST));
                if at.is_some() {
                    assert_eq!(entry.read(), 7);
                }
            })
        };
        assert!(entry.evict());
        owner.join().unwrap();
    });
}

/// As above, of an entry's next life: what the word says is of this one.
#[test]
fn an_owner_sees_the_fields_of_the_life_it_is_at() {
    explore(3, || {
        let entry = Entry::live(7, NOBODY);
        let owner = {
            let entry = entry.clone();
            thread::spawn(move || {
                entry.refs.adopt(FIRST);
                if let Some(_at) = entry.refs.enter_own(entry.caller(FIRST)) {
                    assert_ne!(entry.read(), 0);
                }
            })
        };
        assert!(entry.evict());
        entry.live_again(8);
        owner.join().unwrap();
    });
}

#[test]
fn a_detached_entry_is_released_once_by_its_last_user() {
    owned_or_not(2, |owner| {
        let entry = Entry::live(7, owner);
        let lookups: Vec<_> = [FIRST, SECOND]
            .map(|me| {
                let entry = entry.clone();
                thread::spawn(move || {
                    if let Some(seen) = entry.use_it(me) {
                        assert_eq!(seen, 7);
                    }
                })
            })
            .into();
        assert_ne!(entry.detach(STRANGER), Detach::NotLive);
        for lookup in lookups {
            lookup.join().unwrap();
        }
        assert_eq!(entry.released(), 1);
    });
}

/// Whoever holds a reference gets another one whether or not the entry is being
/// dropped, and it is released once, after both.
#[test]
fn a_reference_is_held_again_while_the_entry_is_dropped() {
    owned_or_not(3, |owner| {
        let entry = Entry::live(7, owner);
        assert!(entry.take(FIRST));
        let dropping = {
            let entry = entry.clone();
            thread::spawn(move || entry.detach(STRANGER))
        };
        assert_eq!(entry.refs.hold(), Ok(()));
        entry.put(FIRST);
        assert_eq!(entry.read(), 7);
        entry.put(FIRST);
        let outcome = dropping.join().unwrap();
        assert_ne!(outcome, Detach::NotLive);
        assert_eq!(entry.released(), 1);
    });
}

#[test]
fn invalidation_and_eviction_agree_on_one_owner() {
    owned_or_not(3, |owner| {
        let entry = Entry::live(7, owner);
        let user = {
            let entry = entry.clone();
            thread::spawn(move || {
                entry.use_it(FIRST);
            })
        };
        // Detaching and evicting happen under the cache's lock, one after the
        // other; the user runs beside both.
        if !entry.evict() {
            entry.detach(STRANGER);
        }
        user.join().unwrap();
        assert_eq!(entry.released(), 1);
    });
}

#[test]
fn a_reference_is_put_back_by_another_thread() {
    owned_or_not(3, |owner| {
        let entry = Entry::live(7, owner);
        assert!(entry.take(FIRST));
        let other = {
            let entry = entry.clone();
            thread::spawn(move || {
                assert_eq!(entry.read(), 7);
                entry.put(SECOND);
            })
        };
        // Meanwhile the owner goes on counting, and somebody invalidates.
        let outcome = entry.detach(SECOND);
        assert_ne!(outcome, Detach::NotLive);
        assert!(!entry.take(FIRST), "nothing is found any more");
        other.join().unwrap();
        assert_eq!(entry.released(), 1);
        assert_eq!(entry.count(), 0);
    });
}

#[test]
fn the_counts_of_two_threads_cancel_out() {
    explore(3, || {
        let entry = Entry::live(7, FIRST);
        assert!(entry.take(FIRST) && entry.take(FIRST));
        let other = {
            let entry = entry.clone();
            thread::spawn(move || {
                entry.put(SECOND);
                entry.put(SECOND);
            })
        };
        thread::yield_now();
        // One more use while the word goes below zero.
        assert_eq!(entry.use_it(FIRST), Some(7));
        other.join().unwrap();
        assert_eq!(entry.count(), 0);
        assert!(!entry.refs.put_own(entry.caller(FIRST)), "nobody holds it");
        assert!(entry.evict());
    });
}

#[test]
fn an_owner_at_the_entry_is_waited_for() {
    explore(3, || {
        let entry = Entry::live(7, FIRST);
        let owner = {
            let entry = entry.clone();
            thread::spawn(move || {
                if entry.take(FIRST) {
                    assert!(matches!(entry.read(), 7 | 8));
                    entry.put(FIRST);
                }
            })
        };
        if entry.evict() {
            entry.refs.free();
            // The next life: another thread's, which counts by itself, so
            // that a late count of the former owner's would be seen.
            // SAFETY: free, and not yet published; loom checks it.
            entry.payload.with_mut(|payload| unsafe { *payload = 8 });
            entry.refs.publish();
            entry.refs.adopt(SECOND);
            assert!(entry.take(SECOND));
            entry.put(SECOND);
            let put = entry.refs.put();
            entry.after_put(put);
        }
        owner.join().unwrap();
        assert_eq!(entry.count(), 0);
        assert!(entry.evict(), "an idle entry can always be evicted");
    });
}

/// An entry without an owner is evicted by one exchange, without a barrier.
#[test]
fn a_thread_that_becomes_the_owner_is_not_overlooked() {
    explore(3, || {
        let entry = Entry::live(7, NOBODY);
        let user = {
            let entry = entry.clone();
            thread::spawn(move || {
                if entry.take(FIRST) {
                    entry.refs.adopt(FIRST);
                    // Put back in the word, so that only the owner's own count
                    // says that the entry is in use.
                    assert!(entry.take(FIRST));
                    let put = entry.refs.put();
                    entry.after_put(put);
                    assert_eq!(entry.read(), 7);
                    entry.put(FIRST);
                }
            })
        };
        entry.evict();
        user.join().unwrap();
        assert_eq!(entry.count(), 0);
        assert!(entry.released() == 1 || entry.evict());
    });
}

#[test]
fn an_entry_passes_from_one_owner_to_the_next() {
    explore(3, || {
        let entry = Entry::live(7, FIRST);
        let first = {
            let entry = entry.clone();
            thread::spawn(move || {
                assert!(entry.take(FIRST));
                entry.put(FIRST);
            })
        };
        // As a thread does that takes an entry over, under the cache's lock.
        entry.refs.revoke(entry.caller(SECOND));
        entry.refs.reopen(SECOND);
        assert!(entry.take(SECOND));
        entry.put(SECOND);
        first.join().unwrap();
        assert_eq!(entry.count(), 0);
        assert!(entry.evict());
    });
}

#[test]
fn an_owner_that_went_on_to_another_entry_has_counted() {
    explore(3, || {
        let entry = Entry::live(7, FIRST);
        let other = Refs::new();
        other.publish();
        other.adopt(FIRST);
        let other = Arc::new(other);
        let owner = {
            let (entry, other) = (entry.clone(), other.clone());
            thread::spawn(move || {
                let taken = entry.refs.take_own(entry.caller(FIRST), || true).is_some();
                other.take_own(entry.caller(FIRST), || true);
                if taken {
                    assert_eq!(entry.read(), 7);
                    entry.put(FIRST);
                }
            })
        };
        // It may be seen at the other entry, and never on its way there.
        entry.detach(STRANGER);
        owner.join().unwrap();
        assert_eq!(entry.released(), 1);
        assert_eq!(entry.count(), 0);
    });
}

#[test]
fn nothing_is_in_use_while_counts_are_settled() {
    nothing_is_in_use(FIRST);
    nothing_is_in_use(MANY);
}

fn nothing_is_in_use(owner: u8) {
    explore(3, move || {
        let entry = Entry::live(7, owner);
        // The counts cancel out, until one is moved into the other.
        assert!(entry.take(FIRST));
        entry.put(SECOND);
        let lock = Arc::new(loom::sync::Mutex::new(()));
        let reaper = {
            let (entry, lock) = (entry.clone(), lock.clone());
            thread::spawn(move || {
                let _state = lock.lock().unwrap();
                entry.refs.disown(entry.caller(STRANGER));
            })
        };
        thread::yield_now();
        // As the cache's `is_in_use` does.
        let used = entry.in_use() && {
            let _state = lock.lock().unwrap();
            entry.in_use()
        };
        assert!(!used, "nobody holds it");
        reaper.join().unwrap();
    });
}

#[test]
fn an_entry_is_shared_while_its_owner_uses_it() {
    explore(3, || {
        let entry = Entry::live(7, FIRST);
        let first = {
            let entry = entry.clone();
            thread::spawn(move || {
                // The second reference may be counted elsewhere than the first,
                // and so may either be put back.
                assert!(entry.take(FIRST) && entry.take(FIRST));
                entry.put(FIRST);
                entry.put(FIRST);
            })
        };
        assert!(entry.refs.share(entry.caller(SECOND)));
        assert_eq!(entry.use_it(SECOND), Some(7));
        first.join().unwrap();
        assert_eq!(entry.count(), 0);
        assert!(entry.evict());
    });
}

#[test]
fn a_place_passes_from_one_entry_to_the_next() {
    explore(3, || {
        let entry = Entry::live(7, MANY);
        let other = Refs::new();
        other.publish();
        let other = Arc::new(other);
        let user = {
            let (entry, other) = (entry.clone(), other.clone());
            thread::spawn(move || {
                let seen = entry.use_it(FIRST);
                assert!(seen.is_none_or(|seen| seen == 7));
                // What it counts here is not added to what it counted there.
                if other.take_shared(&entry.owners, FIRST, || true) {
                    assert!(other.in_use(&entry.owners));
                    if !other.put_shared(&entry.owners, FIRST) {
                        assert_eq!(other.put(), Put::Done);
                    }
                }
            })
        };
        entry.detach(STRANGER);
        // There is one place, and it was given back.
        assert!(other.share(entry.caller(STRANGER)));
        user.join().unwrap();
        assert_eq!(entry.released(), 1);
        assert_eq!(entry.count(), 0);
        assert_eq!(other.count(&entry.owners), 1, "its maker uses it");
    });
}

#[test]
fn what_is_in_use_is_seen_to_be_while_counts_are_settled() {
    for owner in [FIRST, MANY] {
        explore(3, move || {
            let entry = Entry::live(7, owner);
            assert!(entry.take(FIRST));
            let reaper = {
                let entry = entry.clone();
                thread::spawn(move || {
                    entry.refs.disown(entry.caller(STRANGER));
                })
            };
            thread::yield_now();
            assert!(entry.in_use(), "one holds it");
            reaper.join().unwrap();
            assert_eq!(entry.count(), 1);
        });
    }
}

#[test]
fn a_thread_puts_back_only_what_is_held() {
    explore(3, || {
        let entry = Entry::live(7, MANY);
        assert!(entry.take(FIRST) && entry.take(SECOND));
        let other = {
            let entry = entry.clone();
            thread::spawn(move || {
                // Both of them, its own and the other's.
                entry.put(SECOND);
                entry.put(SECOND);
            })
        };
        thread::yield_now();
        assert_eq!(entry.use_it(FIRST), Some(7));
        other.join().unwrap();
        assert_eq!(entry.count(), 0);
        for me in [FIRST, SECOND] {
            assert!(!entry.refs.put_shared(&entry.owners, me), "nobody holds it");
        }
        assert!(entry.evict());
    });
}

/// A batch may name an entry twice: events of its former self and of this one.
#[test]
fn an_entry_that_is_ended_twice_in_a_batch_is_counted_once() {
    explore(2, || {
        let entry = Entry::live(7, MANY);
        let user = {
            let entry = entry.clone();
            thread::spawn(move || {
                entry.use_it(FIRST);
            })
        };
        refs::revoke_all(
            [&entry.refs, &entry.refs].into_iter(),
            entry.caller(STRANGER),
        );
        let outcome = entry.refs.detach();
        if outcome == Detach::Claimed {
            entry.release();
        }
        user.join().unwrap();
        assert_eq!(entry.count(), 0);
        assert_eq!(entry.released(), 1);
    });
}

#[test]
fn a_late_lookup_does_not_disturb_the_next_life() {
    owned_or_not(3, |owner| {
        let entry = Entry::live(7, owner);
        let late = {
            let entry = entry.clone();
            thread::spawn(move || {
                if let Some(seen) = entry.use_it(FIRST) {
                    assert!(seen == 7 || seen == 8);
                }
            })
        };
        if entry.evict() {
            entry.refs.free();
            // The next life, in use by its maker.
            // SAFETY: free, and not yet published; loom checks it.
            entry.payload.with_mut(|payload| unsafe { *payload = 8 });
            entry.refs.publish();
            assert!(!entry.evict(), "its maker still uses it");
            let put = entry.refs.put();
            entry.after_put(put);
        }
        late.join().unwrap();
        assert_eq!(entry.count(), 0);
        assert!(entry.refs.is_live());
    });
}

#[test]
fn an_unfiled_entry_is_filed_by_exactly_one_put() {
    owned_or_not(2, |owner| {
        let entry = Entry::live(7, owner);
        assert!(entry.take(FIRST)); // one user
        let filed = Arc::new(AtomicUsize::new(0));
        let put = |entry: &Entry, filed: &AtomicUsize, me: u8| {
            if !entry.refs.put_own(entry.caller(me))
                && !entry.refs.put_shared(&entry.owners, me)
                && entry.refs.put() == Put::Unfiled
                && entry.refs.file()
            {
                filed.fetch_add(1, Ordering::Relaxed);
            }
        };
        let user = {
            let (entry, filed) = (entry.clone(), filed.clone());
            thread::spawn(move || put(&entry, &filed, FIRST))
        };
        let other = {
            let (entry, filed) = (entry.clone(), filed.clone());
            thread::spawn(move || {
                if entry.take(SECOND) {
                    put(&entry, &filed, SECOND);
                }
            })
        };
        entry.refs.revoke(entry.caller(STRANGER));
        let unfiled = entry.refs.unfile();
        entry.refs.reopen(NOBODY);
        user.join().unwrap();
        other.join().unwrap();
        assert_eq!(filed.load(Ordering::Relaxed), usize::from(unfiled));
        assert_eq!(entry.count(), 0);
    });
}

/// The kernel's part of an event: the changing thread sleeps until its event
/// has been read. `read` stands for the read(2) that lets it go.
#[test]
fn a_check_after_the_change_returned_never_says_valid() {
    loom::model(|| {
        let guard = Arc::new(Guard::new());
        let word = Arc::new(AtomicU32::new(1));
        let read = Arc::new(AtomicBool::new(false));
        let handler = {
            let (guard, word, read) = (guard.clone(), word.clone(), read.clone());
            thread::spawn(move || {
                guard.enter();
                read.store(true, Ordering::Release);
                word.store(2, Ordering::Release);
                guard.leave();
            })
        };
        // The thread that changed the mapping, and now looks it up. It has
        // returned if it was let go.
        if read.load(Ordering::Acquire) {
            let valid = guard.standing() == Standing::Settled && word.load(Ordering::Acquire) == 1;
            assert!(!valid, "stale");
        }
        handler.join().unwrap();
        assert_eq!(guard.standing(), Standing::Settled);
        assert_eq!(word.load(Ordering::Acquire), 2);
    });
}

#[test]
fn a_dead_guard_stays_dead() {
    loom::model(|| {
        let guard = Arc::new(Guard::new());
        let handler = {
            let guard = guard.clone();
            thread::spawn(move || {
                guard.enter();
                guard.leave();
            })
        };
        guard.die();
        handler.join().unwrap();
        assert_eq!(guard.standing(), Standing::Dead);
    });
}
