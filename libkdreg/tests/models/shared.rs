// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads that share an entry each count for themselves.

use super::*;

#[test]
fn an_entry_is_shared_while_its_owner_uses_it() {
    explore(3, || {
        let entry = Entry::live(7, FIRST);
        let first = beside(&entry, |entry| {
            // The second reference may be counted elsewhere than the first,
            // and so may either be put back.
            assert!(entry.take(FIRST) && entry.take(FIRST));
            entry.put(FIRST);
            entry.put(FIRST);
        });
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
