// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guard of an asynchronous backend.

use super::*;

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
        let handler = beside(&guard, |guard| {
            guard.enter();
            guard.leave();
        });
        guard.die();
        handler.join().unwrap();
        assert_eq!(guard.standing(), Standing::Dead);
    });
}
