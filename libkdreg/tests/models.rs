// SPDX-License-Identifier: MIT OR Apache-2.0
//! loom models of the two small concurrent cores: the reference word of a
//! cache entry, and the guard of an asynchronous backend. The files under test
//! are compiled here a second time, over loom's atomics, so that every
//! interleaving and every allowed reordering is tried.

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
}

#[path = "../src/cache/refs.rs"]
#[allow(dead_code, reason = "models use parts of the file")]
mod refs;

#[path = "../src/monitor/guard.rs"]
#[allow(dead_code, reason = "models use parts of the file")]
mod guard;

use guard::{Guard, Standing};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use loom::thread;
use refs::{Detach, Put, Refs};

/// An entry whose payload is only touched by who may touch it: loom reports
/// any access that is not ordered by the reference word.
struct Entry {
    refs: Refs,
    payload: UnsafeCell<u32>,
    released: AtomicUsize,
}

impl Entry {
    fn live(payload: u32) -> Entry {
        let entry = Entry {
            refs: Refs::new(),
            payload: UnsafeCell::new(payload),
            released: AtomicUsize::new(0),
        };
        entry.refs.publish();
        assert_eq!(entry.refs.put(), Put::Done);
        entry
    }

    /// What a lookup does with an entry it found.
    fn use_it(&self) -> Option<u32> {
        match self.refs.take() {
            Ok(()) => {
                // SAFETY: a reference was granted; loom checks that this keeps
                // writers away.
                let seen = self.payload.with(|payload| unsafe { *payload });
                let put = self.refs.put();
                self.after_put(put);
                Some(seen)
            }
            Err(put) => {
                self.after_put(put);
                None
            }
        }
    }

    fn after_put(&self, put: Put) {
        assert_ne!(put, Put::NotHeld);
        if put == Put::Detached && self.refs.claim_detached() {
            self.release();
        }
    }

    /// The owner of a retired entry takes the payload away.
    fn release(&self) {
        // SAFETY: retired entries have one owner; loom checks it.
        self.payload.with_mut(|payload| unsafe { *payload = 0 });
        self.released.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn eviction_never_takes_what_a_lookup_uses() {
    loom::model(|| {
        let entry = Arc::new(Entry::live(7));
        let lookup = {
            let entry = entry.clone();
            thread::spawn(move || {
                if let Some(seen) = entry.use_it() {
                    assert_eq!(seen, 7);
                }
            })
        };
        if entry.refs.claim_idle() {
            entry.release();
        }
        lookup.join().unwrap();
    });
}

#[test]
fn a_detached_entry_is_released_once_by_its_last_user() {
    loom::model(|| {
        let entry = Arc::new(Entry::live(7));
        let lookups: Vec<_> = (0..2)
            .map(|_| {
                let entry = entry.clone();
                thread::spawn(move || {
                    if let Some(seen) = entry.use_it() {
                        assert_eq!(seen, 7);
                    }
                })
            })
            .collect();
        match entry.refs.detach() {
            Detach::Claimed => entry.release(),
            Detach::InUse => {}
            Detach::NotLive => unreachable!("nobody else detaches"),
        }
        for lookup in lookups {
            lookup.join().unwrap();
        }
        assert_eq!(entry.released.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn invalidation_and_eviction_agree_on_one_owner() {
    loom::model(|| {
        let entry = Arc::new(Entry::live(7));
        let user = {
            let entry = entry.clone();
            thread::spawn(move || {
                entry.use_it();
            })
        };
        // Detaching and evicting happen under the cache's lock, one after the
        // other; the user runs beside both.
        if entry.refs.claim_idle() || entry.refs.detach() == Detach::Claimed {
            entry.release();
        }
        user.join().unwrap();
        assert_eq!(entry.released.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_late_lookup_does_not_disturb_the_next_life() {
    loom::model(|| {
        let entry = Arc::new(Entry::live(7));
        let late = {
            let entry = entry.clone();
            thread::spawn(move || {
                if let Some(seen) = entry.use_it() {
                    assert!(seen == 7 || seen == 8);
                }
            })
        };
        if entry.refs.claim_idle() {
            entry.release();
            entry.refs.free();
            // The next life, in use by its maker.
            // SAFETY: free, and not yet published; loom checks it.
            entry.payload.with_mut(|payload| unsafe { *payload = 8 });
            entry.refs.publish();
            assert!(!entry.refs.claim_idle(), "its maker still uses it");
            let put = entry.refs.put();
            entry.after_put(put);
        }
        late.join().unwrap();
        assert_eq!(entry.refs.count(), 0);
        assert!(entry.refs.is_live());
    });
}

#[test]
fn an_unfiled_entry_is_filed_by_exactly_one_put() {
    loom::model(|| {
        let refs = Arc::new(Refs::new());
        refs.publish(); // one user
        let filed = Arc::new(AtomicUsize::new(0));
        let user = {
            let (refs, filed) = (refs.clone(), filed.clone());
            thread::spawn(move || {
                if refs.put() == Put::Unfiled && refs.file() {
                    filed.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let other = {
            let (refs, filed) = (refs.clone(), filed.clone());
            thread::spawn(move || {
                if refs.take().is_ok() && refs.put() == Put::Unfiled && refs.file() {
                    filed.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let unfiled = refs.unfile();
        user.join().unwrap();
        other.join().unwrap();
        assert_eq!(filed.load(Ordering::Relaxed), usize::from(unfiled));
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
