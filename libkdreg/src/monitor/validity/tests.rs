// SPDX-License-Identifier: MIT OR Apache-2.0
use super::super::change_log::tests::{Written, change};
use super::super::in_flight::tests::{replace, userfaultfd};
use super::*;
use std::os::fd::AsRawFd;

/// What comes of a log that stands so, and how often others were let run for it.
fn ask(standing: impl Fn(u32) -> LogStanding) -> (LogStanding, u32) {
    let (mut asked, mut pauses) = (0, 0);
    let found = patiently(
        || {
            asked += 1;
            standing(asked)
        },
        |_| pauses += 1,
    );
    (found, pauses)
}

#[test]
fn uncertainty_is_not_waited_for() {
    assert_eq!(
        ask(|_| LogStanding::Uncertain),
        (LogStanding::Uncertain, UNCERTAIN)
    );
    // Not even in turns with something that is worth it.
    let (found, pauses) = ask(|n| match n % 2 {
        0 => LogStanding::Behind,
        _ => LogStanding::Uncertain,
    });
    assert_eq!(found, LogStanding::Uncertain);
    assert!(pauses <= 2 * UNCERTAIN);
}

#[test]
fn what_passes_is_waited_for() {
    let soon = |n| match n {
        1..=3 => LogStanding::Uncertain,
        _ => LogStanding::Settled,
    };
    assert_eq!(ask(soon), (LogStanding::Settled, 3));
    assert_eq!(
        ask(|_| LogStanding::Behind),
        (LogStanding::Behind, PATIENCE)
    );
    assert_eq!(ask(|_| LogStanding::Dead), (LogStanding::Dead, 0));
}

#[test]
fn who_waits_sleeps_at_last() {
    let mut naps = Vec::new();
    patiently(|| LogStanding::Behind, |nap| naps.push(nap));
    let (awake, asleep) = naps.split_at(AWAKE as usize);
    assert!(awake.iter().all(|&nap| nap.is_none()));
    assert!(asleep.iter().all(|&nap| nap == Some(NAP)));
    assert!(!asleep.is_empty());
}

const ARMED: u32 = 7;

fn word() -> AtomicU32 {
    AtomicU32::new(ARMED)
}

fn guard() -> &'static Guard {
    Box::leak(Box::new(Guard::new()))
}

/// Whether `validity` finds the armed word valid, another generation not, and the
/// same by what it says is settled, where it says so.
fn finds_valid(validity: Validity) -> bool {
    let word = word();
    let valid = validity.check(&word, ARMED);
    assert!(!validity.check(&word, ARMED - 2));
    assert!(!validity.check(&word, ARMED + 2));
    if let Some(settled) = validity.settled() {
        assert!(valid && settled.check(&word, ARMED));
        assert!(!settled.check(&word, ARMED - 2));
        assert!(!settled.check(&word, ARMED + 2));
    }
    valid
}

#[test]
fn words_that_are_always_current_are_the_whole_check() {
    let validity = Validity::SYNCHRONOUS;
    assert!(!validity.needs_call() && !validity.is_relaxed());
    assert!(validity.settled().is_some() && validity.settle());
    assert!(finds_valid(validity));
}

#[test]
fn behind_a_log_words_are_looked_at_once_it_was_applied() {
    let written = Written::new();
    let validity = Validity::logged(written.reader());
    assert!(validity.needs_call() && !validity.is_relaxed());
    assert!(validity.settled().is_some() && validity.settle());
    assert!(finds_valid(validity));
    written.write(change(0));
    assert!(validity.settled().is_none());
    assert!(finds_valid(validity), "nothing of this word was changed");
    assert!(validity.settled().is_some());
    written.write(change(1));
    assert!(validity.settle() && validity.settled().is_some());
    // Where it cannot be applied.
    let number = written.begin();
    assert!(!finds_valid(validity) && !validity.settle());
    assert!(validity.settled().is_none());
    written.finish(number, change(number));
    assert!(finds_valid(validity));
    written.guard.store(1, Ordering::SeqCst);
    assert!(!finds_valid(validity) && !validity.settle());
}

#[test]
fn a_word_that_a_log_changes_is_not_valid() {
    let written = Written::new();
    let word = Box::leak(Box::new(word()));
    let validity = Validity::logged(written.reader_of(word));
    assert!(validity.check(word, ARMED));
    written.write(change(0));
    assert!(!validity.check(word, ARMED));
    assert!(validity.settled().is_some_and(|it| !it.check(word, ARMED)));
}

#[test]
fn behind_a_guard_words_are_looked_at_once_it_is_even() {
    let guard = guard();
    let validity = Validity::guarded(guard);
    assert!(validity.needs_call() && validity.is_relaxed());
    assert!(validity.settled().is_some() && validity.settle());
    assert!(finds_valid(validity));
    guard.enter();
    assert!(validity.settled().is_none() && !validity.settle());
    assert!(
        !finds_valid(validity),
        "for longer than a check has patience"
    );
    guard.leave();
    assert!(finds_valid(validity));
    guard.die();
    assert!(validity.settled().is_none() && !validity.settle());
    assert!(!finds_valid(validity));
}

#[test]
fn where_changes_in_flight_are_asked_about_nothing_is_settled_without() {
    let guard = guard();
    // No userfaultfd: nothing can be asked, so nothing is valid.
    let file = std::fs::File::open("/dev/null").unwrap();
    let validity = Validity::strict(guard, file.as_raw_fd());
    assert!(validity.needs_call() && !validity.is_relaxed());
    assert!(validity.settled().is_none() && validity.settle());
    assert!(!finds_valid(validity));
    // Standard input's number is one as well.
    assert!(Validity::strict(guard, 0).settled().is_none());
    assert!(!Validity::strict(guard, 0).is_relaxed());
    assert!(!finds_valid(Validity::strict(guard, 0)));
    let standard_input = Guarded {
        userfaultfd: 0,
        guard,
    };
    assert_eq!(wait(standard_input, &word(), 0, |_| ()), (false, 0));
}

#[test]
fn nothing_in_flight_is_half_of_the_check() {
    let Some(userfaultfd) = userfaultfd() else {
        return;
    };
    let guard = guard();
    let validity = Validity::strict(guard, userfaultfd.as_raw_fd());
    assert!(finds_valid(validity));
    guard.enter();
    assert!(!finds_valid(validity));
    let waiting = Guarded {
        userfaultfd: userfaultfd.as_raw_fd(),
        guard,
    };
    let (found, pauses) = wait(waiting, &word(), 3, |_| guard.leave());
    assert!(found && pauses == 4);
    // Its number is not free: another test's might be given it.
    replace(&userfaultfd, &std::fs::File::open("/dev/null").unwrap());
    assert!(
        !wait(waiting, &word(), 0, |_| ()).0,
        "not a userfaultfd any more"
    );
}

/// What a patient check comes to, and how often it let others run, who do something
/// in one of these pauses, the first being 0.
fn wait(check: Guarded, word: &AtomicU32, when: u32, then: impl Fn(&AtomicU32)) -> (bool, u32) {
    let mut pauses = 0;
    let found = check.check_patiently(word, ARMED, |_| {
        if pauses == when {
            then(word);
        }
        pauses += 1;
    });
    (found, pauses)
}

#[test]
fn a_handler_is_waited_for() {
    let guard = guard();
    let check = Guarded {
        userfaultfd: -1,
        guard,
    };
    assert_eq!(wait(check, &word(), 0, |_| ()), (true, 0));
    guard.enter();
    assert_eq!(wait(check, &word(), 0, |_| ()), (false, PATIENCE));
    assert_eq!(wait(check, &word(), 1, |_| guard.leave()), (true, 2));
    // What it bumps is seen behind the guard, and before.
    guard.enter();
    let bumped = |word: &AtomicU32| {
        word.store(ARMED + 1, Ordering::Release);
        guard.leave();
    };
    assert_eq!(wait(check, &word(), 1, bumped), (false, 2));
    guard.enter();
    let bump = |word: &AtomicU32| word.store(ARMED + 1, Ordering::Release);
    assert_eq!(wait(check, &word(), 5, bump), (false, 6));
    assert_eq!(wait(check, &word(), 1, |_| guard.die()), (false, 2));
}

#[test]
fn who_only_wants_the_words_current_waits_too() {
    let guard = guard();
    let wait = |when, then: fn(&Guard)| {
        let mut pauses = 0;
        let settled = settle_guarded(guard, |_| {
            if pauses == when {
                then(guard);
            }
            pauses += 1;
        });
        (settled, pauses)
    };
    assert_eq!(wait(0, |_| ()), (true, 0));
    guard.enter();
    assert_eq!(wait(0, |_| ()), (false, PATIENCE));
    assert_eq!(wait(2, Guard::leave), (true, 3));
    guard.enter();
    assert_eq!(wait(2, Guard::die), (false, 3));
}
