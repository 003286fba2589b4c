// SPDX-License-Identifier: MIT OR Apache-2.0
//! An application that closes descriptors it did not open: when the
//! userfaultfd goes, nothing is valid any more, and nobody hangs.

mod mapping;

use kdreg::errno::Errno;
use kdreg::monitor::{Event, Kind, Monitor, Options, Reason};
use mapping::{map, unmap};

/// Closes the process's userfaultfds and puts something else in their place.
fn take_userfaultfds_away() {
    let mut taken = 0;
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let Ok(target) = std::fs::read_link(entry.path()) else {
            continue;
        };
        if target.to_string_lossy().contains("userfaultfd") {
            let fd: i32 = entry.file_name().to_string_lossy().parse().unwrap();
            // SAFETY: this is the misbehaviour under test; the number stays in
            // use, by a pipe that nobody writes to.
            unsafe {
                let mut pipe = [0; 2];
                assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
                assert_eq!(libc::dup2(pipe[0], fd), fd);
            }
            taken += 1;
        }
    }
    assert!(taken > 0, "no userfaultfd found");
}

#[test]
fn a_lost_descriptor_makes_everything_invalid() {
    let options = Options {
        backend: Some(Kind::Userfaultfd),
        ..Options::default()
    };
    let monitor = Monitor::open(&options).unwrap();
    let (touched, untouched) = (map(1 << 16), map(1 << 16));
    let first = monitor.monitor(touched, 1).unwrap();
    let second = monitor.monitor(untouched, 2).unwrap();
    assert!((0..10_000).any(|_| monitor.is_valid(first) && monitor.is_valid(second)));

    take_userfaultfds_away();
    assert!(!monitor.is_valid(first) && !monitor.is_valid(second));
    // The next change wakes the handler, which finds its descriptor gone.
    unmap(touched);
    let mut events = Vec::new();
    while events.len() < 2 {
        let mut event = [Event::default()];
        if monitor.drain(&mut event).unwrap() == 1 {
            events.push((event[0].cookie, event[0].reason));
        }
        std::thread::yield_now();
    }
    events.sort_by_key(|event| event.0);
    assert_eq!(events, [(1, Reason::Lost), (2, Reason::Lost)]);
    assert!(matches!(monitor.monitor(untouched, 3), Err(Errno::ENXIO)));
    unmap(untouched); // nobody to wait for

    // Closing does not touch what took the descriptor's place, and a new
    // monitor starts afresh.
    drop(monitor);
    let again = Monitor::open(&options).unwrap();
    let range = map(4096);
    let region = again.monitor(range, 4).unwrap();
    assert!((0..10_000).any(|_| again.is_valid(region)));
    unmap(range);
    assert!(!again.is_valid(region));
}
