// SPDX-License-Identifier: MIT OR Apache-2.0
//! An entry ends once, and after all who use it.

use super::*;

#[test]
fn eviction_never_takes_what_a_lookup_uses() {
    owned_or_not(3, |owner| {
        let entry = Entry::live(7, owner);
        let lookup = beside(&entry, |entry| {
            if let Some(seen) = entry.use_it(FIRST) {
                assert_eq!(seen, 7);
            }
        });
        entry.evict();
        lookup.join().unwrap();
        assert_eq!(entry.count(), 0);
    });
}

#[test]
fn a_detached_entry_is_released_once_by_its_last_user() {
    owned_or_not(2, |owner| {
        let entry = Entry::live(7, owner);
        let lookups: Vec<_> = [FIRST, SECOND]
            .map(|me| {
                beside(&entry, move |entry| {
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
        let dropping = beside(&entry, |entry| entry.detach(STRANGER));
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
        let user = beside(&entry, |entry| {
            entry.use_it(FIRST);
        });
        // Detaching and evicting happen under the cache's lock, one after the
        // other; the user runs beside both.
        if !entry.evict() {
            entry.detach(STRANGER);
        }
        user.join().unwrap();
        assert_eq!(entry.released(), 1);
    });
}

/// A batch may name an entry twice: events of its former self and of this one.
#[test]
fn an_entry_that_is_ended_twice_in_a_batch_is_counted_once() {
    explore(2, || {
        let entry = Entry::live(7, MANY);
        let user = beside(&entry, |entry| {
            entry.use_it(FIRST);
        });
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
        let late = beside(&entry, |entry| {
            if let Some(seen) = entry.use_it(FIRST) {
                assert!(seen == 7 || seen == 8);
            }
        });
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
