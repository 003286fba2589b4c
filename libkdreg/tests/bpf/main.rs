// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bpf backend against a kdregd that is none.

mod daemon;
mod hostile;
mod losses;
mod memory;
mod model;

#[path = "../mapping/mod.rs"]
#[allow(dead_code, reason = "nothing is given back here")]
mod mapping;

use daemon::{Daemon, until};
use kdreg::cache::{self, Cache, Handle, Registrar};
use kdreg::errno::Errno;
use kdreg::monitor::bpf::abi;
use kdreg::monitor::{Capabilities, Event, Kind, Monitor, Options, Reason, Region};
use kdreg::range::Range;
use mapping::map;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestRunner};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One test at a time: there is one environment, and one client of a process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tries what must hold for all values, with so many.
fn property<S: Strategy>(cases: u32, values: S, holds: impl Fn(S::Value)) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&values, |value| {
        holds(value);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn options() -> Options {
    Options {
        backend: Some(Kind::Bpf),
        ..Options::default()
    }
}

fn open() -> Monitor {
    Monitor::open(&options()).unwrap()
}

fn drain(monitor: &Monitor) -> Vec<(u64, Reason)> {
    let mut events = [Event::default(); 64];
    let taken = monitor.drain(&mut events).unwrap();
    let mut taken: Vec<_> = events[..taken]
        .iter()
        .map(|event| (event.cookie, event.reason))
        .collect();
    taken.sort_by_key(|event| event.0);
    taken
}

/// `count` pages, and a region over each.
fn pages(monitor: &Monitor, count: usize) -> (Range, Vec<Region>) {
    let all = map(count * daemon::PAGE);
    let regions = (0..count)
        .map(|number| monitor.monitor(page(all, number), number as u64).unwrap())
        .collect();
    (all, regions)
}

fn page(all: Range, number: usize) -> Range {
    Range::new(all.start() + number * daemon::PAGE, daemon::PAGE).unwrap()
}

fn valid(monitor: &Monitor, regions: &[Region]) -> Vec<bool> {
    regions
        .iter()
        .map(|region| monitor.is_valid(*region))
        .collect()
}

#[test]
fn what_was_logged_is_not_valid_any_more() {
    let _alone = alone();
    let daemon = Daemon::honest(abi::MODE_NOTIFIER, 64);
    let monitor = open();
    assert_eq!(monitor.kind(), Kind::Bpf);
    // Of what kdregd says, no more than there is.
    assert!(
        monitor
            .capabilities()
            .contains(Capabilities::PROTECT.with(Capabilities::SYNC))
    );
    assert_eq!(
        Capabilities::ALL
            .iter()
            .fold(0, |all, (one, _)| all | one.bits()),
        monitor.capabilities().bits()
    );
    let (all, regions) = pages(&monitor, 4);
    assert_eq!(valid(&monitor, &regions), [true; 4]);
    let client = daemon.client();
    client.change(page(all, 1).start(), page(all, 1).end(), 1);
    assert_eq!(valid(&monitor, &regions), [true, false, true, true]);
    // Part of a page is all of it; and a range that is none is everything.
    client.change(page(all, 2).start() + 8, page(all, 2).start() + 16, 2);
    assert_eq!(valid(&monitor, &regions), [true, false, false, true]);
    assert_eq!(drain(&monitor), [(1, Reason::Unmap), (2, Reason::Discard)]);
    client.change(7, 7, 0);
    assert_eq!(valid(&monitor, &regions), [false; 4]);
    assert_eq!(
        drain(&monitor),
        [(0, Reason::Unknown), (3, Reason::Unknown)]
    );
}

#[test]
fn a_change_from_before_marks_nothing() {
    let _alone = alone();
    let daemon = Daemon::honest(abi::MODE_FLUSH, 64);
    let monitor = open();
    let all = map(daemon::PAGE);
    daemon.client().change(all.start(), all.end(), 1);
    let region = monitor.monitor(all, 1).unwrap();
    assert!(monitor.is_valid(region));
}

#[test]
fn an_entry_that_is_being_written_is_waited_for() {
    let _alone = alone();
    let daemon = Daemon::honest(abi::MODE_NOTIFIER, 64);
    let monitor = open();
    let (all, regions) = pages(&monitor, 2);
    let client = daemon.client();
    let number = client.begin();
    assert_eq!(valid(&monitor, &regions), [false, false]);
    client.finish(number, page(all, 0).start(), page(all, 0).end(), 1);
    assert_eq!(valid(&monitor, &regions), [false, true]);
}

#[test]
fn overtaken_everything_is_invalid_once() {
    let _alone = alone();
    let daemon = Daemon::honest(abi::MODE_NOTIFIER, 64);
    let monitor = open();
    let (all, regions) = pages(&monitor, 3);
    let client = daemon.client();
    // A writer is held up, and others lap it.
    let straggler = client.begin();
    for _ in 0..70 {
        client.change(1 << 40, (1 << 40) + 4096, 1);
    }
    assert_eq!(valid(&monitor, &regions), [false; 3]);
    let again = monitor.monitor(page(all, 0), 9).unwrap();
    // Nothing is certain while it may still write.
    assert!(!monitor.is_valid(again));
    client.finish(straggler, 1 << 41, (1 << 41) + 4096, 1);
    assert!(!monitor.is_valid(again));
    let again = monitor.monitor(page(all, 0), 10).unwrap();
    assert!(monitor.is_valid(again));
    assert_eq!(drain(&monitor).len(), 4);
    client.change(page(all, 0).start(), page(all, 0).end(), 1);
    assert!(!monitor.is_valid(again));
}

/// The two ways in which it comes to an end, and a new one after each.
#[test]
fn what_is_dead_is_lost() {
    let _alone = alone();
    let daemon = Daemon::honest(abi::MODE_NOTIFIER, 64);
    for guard in [false, true] {
        let monitor = open();
        let (all, regions) = pages(&monitor, 2);
        assert_eq!(valid(&monitor, &regions), [true; 2]);
        if guard {
            daemon
                .guard
                .word()
                .fetch_or(abi::GUARD_DEAD, Ordering::SeqCst);
        } else {
            daemon.client().die();
        }
        assert_eq!(valid(&monitor, &regions), [false; 2]);
        assert_eq!(drain(&monitor), [(0, Reason::Lost), (1, Reason::Lost)]);
        assert!(matches!(
            monitor.monitor(page(all, 0), 3),
            Err(Errno::ENXIO)
        ));
        let again = Monitor::open(&options());
        if guard {
            assert!(matches!(again, Err(Errno::ENODEV)));
        } else {
            let again = again.unwrap();
            assert_eq!(daemon.clients.lock().unwrap().len(), 2);
            let region = again.monitor(page(all, 0), 3).unwrap();
            assert!(again.is_valid(region) && !monitor.is_valid(region));
            let former = daemon.clients.lock().unwrap()[0].clone();
            let now = daemon.client();
            former.change(page(all, 0).start(), page(all, 0).end(), 1);
            assert!(again.is_valid(region));
            now.change(page(all, 0).start(), page(all, 0).end(), 1);
            assert!(!again.is_valid(region));
        }
    }
}

/// One log for all backends of a process, each with its own regions and events.
#[test]
fn backends_share_the_log() {
    let _alone = alone();
    let daemon = Daemon::honest(abi::MODE_NOTIFIER, 64);
    let shared = open();
    let private = Monitor::open(&Options {
        private: true,
        max_regions: 8,
        ..options()
    })
    .unwrap();
    assert_eq!(daemon.clients.lock().unwrap().len(), 1);
    let (all, first) = pages(&shared, 1);
    let second = private.monitor(all, 7).unwrap();
    daemon.client().change(all.start(), all.end(), 1);
    // One empties the ring, and the other is not forgotten.
    assert_eq!(drain(&shared), [(0, Reason::Unmap)]);
    assert!(is_readable(&private));
    assert_eq!(drain(&private), [(7, Reason::Unmap)]);
    assert!(!private.is_valid(second) && !shared.is_valid(first[0]));
    drop(shared);
    let third = private.monitor(all, 8).unwrap();
    assert!(private.is_valid(third));
    drop(private);
    // The last one ends the connection.
    until(|| daemon.open.lock().unwrap().len() == 1);
    assert!(daemon.open.lock().unwrap()[0].is_closed());
    let again = open();
    assert_eq!(daemon.clients.lock().unwrap().len(), 2);
    let (_, regions) = pages(&again, 1);
    assert!(again.is_valid(regions[0]));
}

fn is_readable(monitor: &Monitor) -> bool {
    let mut polled = libc::pollfd {
        fd: monitor.event_fd().as_fd().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one local structure.
    unsafe { libc::poll(&raw mut polled, 1, 0) == 1 }
}

/// What a child of this process finds, by fork() and by a raw clone.
#[test]
fn a_child_has_nothing_valid_and_may_enrol() {
    let _alone = alone();
    let daemon = Daemon::honest(abi::MODE_NOTIFIER, 64);
    let monitor = open();
    let (_, regions) = pages(&monitor, 1);
    assert!(monitor.is_valid(regions[0]));
    for raw in [false, true] {
        // SAFETY: the child calls the library, which is made for that, and ends
        // without running what is its parent's.
        unsafe {
            let child = if raw {
                libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as libc::pid_t
            } else {
                libc::fork()
            };
            if child == 0 {
                let fine = !monitor.is_valid(regions[0])
                    && matches!(monitor.monitor(regions_range(), 1), Err(Errno::ECHILD))
                    && (raw || Monitor::open(&options()).is_ok_and(|own| own.kind() == Kind::Bpf));
                libc::_exit(i32::from(!fine));
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            assert_eq!(status, 0);
        }
    }
    until(|| daemon.clients.lock().unwrap().len() == 2);
    assert!(monitor.is_valid(regions[0]));
}

fn regions_range() -> Range {
    Range::new(1 << 20, 4096).unwrap()
}

struct Device;

impl Registrar for Device {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        Ok(Handle(range.start()))
    }
    fn deregister(&self, _range: Range, _handle: Handle) {}
}

#[test]
fn a_cache_follows_the_log() {
    let _alone = alone();
    let daemon = Daemon::honest(abi::MODE_NOTIFIER, 64);
    let cache = Cache::new(&open(), cache::Options::default(), Box::new(Device)).unwrap();
    let all = map(4 * daemon::PAGE);
    let find = |number| cache.find(page(all, number), 0).map(drop);
    for number in [0, 2] {
        drop(cache.get(page(all, number), 0).unwrap());
    }
    let client = daemon.client();
    client.change(page(all, 0).start(), page(all, 0).end(), 1);
    assert_eq!((find(0), find(2)), (Err(Errno::ENOENT), Ok(())));
    // Not now, and then again: it is still there.
    daemon.guard.raise();
    assert_eq!(find(2), Err(Errno::ENOENT));
    drop(cache.get(page(all, 2), 0).unwrap());
    daemon.guard.lower(false);
    assert_eq!(find(2), Ok(()));
    client.die();
    assert_eq!(find(2), Err(Errno::ENOENT));
    drop(cache.get(page(all, 2), 0).unwrap());
    assert_eq!(find(2), Err(Errno::ENOENT));
}

/// Threads that change and then look: with every number of entries, laps too.
#[test]
fn threads_that_change_and_look() {
    let _alone = alone();
    let daemon = Daemon::honest(abi::MODE_NOTIFIER, 64);
    let monitor = open();
    let client = daemon.client();
    let all = map(64 * daemon::PAGE);
    let proven = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (monitor, client, proven) = (&monitor, &client, &proven);
            scope.spawn(move || {
                for round in 0..20_000 {
                    let own = page(all, thread * 16 + round % 16);
                    let region = monitor.monitor(own, 0).unwrap();
                    proven.fetch_add(u32::from(monitor.is_valid(region)), Ordering::Relaxed);
                    client.change(own.start(), own.end(), 1);
                    assert!(!monitor.is_valid(region));
                    monitor.unmonitor(region).unwrap();
                }
            });
        }
    });
    assert!(proven.load(Ordering::Relaxed) > 0);
}
