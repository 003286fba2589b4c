// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who owns an entry counts alone, and what it counts is known to all.

use super::*;

/// A hit looks at an entry's fields before it has a reference, as plain memory.
#[test]
fn fields_hold_still_while_the_owner_is_at_the_entry() {
    explore(3, || {
        let entry = Entry::live(7, FIRST);
        let owner = beside(&entry, |entry| {
            let at = entry.refs.enter_own(entry.caller(FIRST));
            if at.is_some() {
                assert_eq!(entry.read(), 7);
            }
        });
        assert!(entry.evict());
        owner.join().unwrap();
    });
}

/// As above, of an entry's next life: what the word says is of this one.
#[test]
fn an_owner_sees_the_fields_of_the_life_it_is_at() {
    explore(3, || {
        let entry = Entry::live(7, NOBODY);
        let owner = beside(&entry, |entry| {
            entry.refs.adopt(FIRST);
            if let Some(_at) = entry.refs.enter_own(entry.caller(FIRST)) {
                assert_ne!(entry.read(), 0);
            }
        });
        assert!(entry.evict());
        entry.live_again(8);
        owner.join().unwrap();
    });
}

#[test]
fn a_reference_is_put_back_by_another_thread() {
    owned_or_not(3, |owner| {
        let entry = Entry::live(7, owner);
        assert!(entry.take(FIRST));
        let other = beside(&entry, |entry| {
            assert_eq!(entry.read(), 7);
            entry.put(SECOND);
        });
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
        let other = beside(&entry, |entry| {
            entry.put(SECOND);
            entry.put(SECOND);
        });
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
        let owner = beside(&entry, |entry| {
            if entry.take(FIRST) {
                assert!(matches!(entry.read(), 7 | 8));
                entry.put(FIRST);
            }
        });
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
        let user = beside(&entry, |entry| {
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
        });
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
        let first = beside(&entry, |entry| {
            assert!(entry.take(FIRST));
            entry.put(FIRST);
        });
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
fn what_is_in_use_is_seen_to_be_while_counts_are_settled() {
    for owner in [FIRST, MANY] {
        explore(3, move || {
            let entry = Entry::live(7, owner);
            assert!(entry.take(FIRST));
            let reaper = beside(&entry, |entry| {
                entry.refs.disown(entry.caller(STRANGER));
            });
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
        let other = beside(&entry, |entry| {
            // Both of them, its own and the other's.
            entry.put(SECOND);
            entry.put(SECOND);
        });
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
