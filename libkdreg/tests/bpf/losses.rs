// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes that were passed over: the guard tells, and everything is invalid once.

use super::daemon::Daemon;
use super::{alone, drain, open, page, pages, valid};
use kdreg::monitor::Reason;
use kdreg::monitor::bpf::abi;

#[test]
fn a_loss_invalidates_everything_once() {
    let _alone = alone();
    let daemon = Daemon::honest(abi::MODE_NOTIFIER, 64);
    let monitor = open();
    let (all, regions) = pages(&monitor, 2);
    daemon.guard.raise();
    assert_eq!(valid(&monitor, &regions), [false; 2]);
    daemon.guard.raise();
    daemon.guard.lower(false);
    assert_eq!(valid(&monitor, &regions), [false; 2]);
    daemon.guard.lower(false);
    // Nothing was lost.
    assert_eq!(valid(&monitor, &regions), [true; 2]);
    daemon.guard.raise();
    daemon.guard.lower(true);
    assert_eq!(valid(&monitor, &regions), [false; 2]);
    assert_eq!(
        drain(&monitor),
        [(0, Reason::Unknown), (1, Reason::Unknown)]
    );
    let again = monitor.monitor(page(all, 0), 3).unwrap();
    assert!(monitor.is_valid(again));
}

/// Who is woken for a loss finds its events, though another processor is uncertain: it is
/// not woken again when that is over.
#[test]
fn a_loss_is_told_while_more_may_be_lost() {
    let _alone = alone();
    let daemon = Daemon::honest(abi::MODE_NOTIFIER, 64);
    let monitor = open();
    let (all, regions) = pages(&monitor, 2);
    daemon.guard.raise();
    daemon.guard.raise();
    daemon.guard.lower(true);
    assert_eq!(
        drain(&monitor),
        [(0, Reason::Unknown), (1, Reason::Unknown)]
    );
    assert_eq!(valid(&monitor, &regions), [false; 2]);
    // What is watched since knows of that loss, and may be hit by one to come.
    let since = monitor.monitor(page(all, 0), 3).unwrap();
    assert!(!monitor.is_valid(since));
    daemon.guard.lower(false);
    assert!(monitor.is_valid(since));
    daemon.guard.raise();
    daemon.guard.lower(true);
    assert!(!monitor.is_valid(since));
}

/// Programs may be gone: what is watched meanwhile may have changed unseen, too.
#[test]
fn nothing_outlasts_a_guard_that_is_held() {
    let _alone = alone();
    let daemon = Daemon::honest(abi::MODE_NOTIFIER, 64);
    let monitor = open();
    let (all, regions) = pages(&monitor, 2);
    daemon.guard.hold();
    assert_eq!(valid(&monitor, &regions), [false; 2]);
    let meanwhile = monitor.monitor(page(all, 0), 3).unwrap();
    assert!(!monitor.is_valid(meanwhile));
    daemon.guard.let_go();
    assert_eq!(valid(&monitor, &regions), [false; 2]);
    assert!(!monitor.is_valid(meanwhile));
    let since = monitor.monitor(page(all, 0), 4).unwrap();
    assert!(monitor.is_valid(since));
}
