// SPDX-License-Identifier: MIT OR Apache-2.0
//! A registration that lacks memory while another thread gives some back.

use super::super::{Cache, Options, Registrar};
use super::*;
use crate::monitor::manual::Manual;
use crate::range::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

const PAGE: usize = 4096;

/// Refuses so many registrations for want of memory; undoing one takes until
/// it is told to go on, or until nobody is there to tell it.
struct Scarce {
    refusals: Arc<AtomicUsize>,
    begun: Sender<()>,
    go_on: crate::lock::Mutex<Receiver<()>>,
}

impl Registrar for Scarce {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        let one_less = |left: usize| left.checked_sub(1);
        match self
            .refusals
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
        {
            Ok(_) => Err(Errno::ENOMEM),
            Err(_) => Ok(Handle(range.start())),
        }
    }

    fn deregister(&self, _range: Range, _handle: Handle) {
        let _ = self.begun.send(());
        let _ = self.go_on.lock().recv();
    }
}

fn region(index: usize) -> Range {
    Range::new((1 << 32) + index * 4 * PAGE, PAGE).unwrap()
}

/// What comes of a get that is refused so often, and how often it asked, while
/// another thread is undoing a registration, or not.
fn get_refused(refusals: usize, while_undoing: bool) -> (Option<Errno>, usize) {
    let (_manual, monitor) = Manual::open().unwrap();
    let options = Options {
        max_entries: 8,
        no_reaper: true,
        ..Options::default()
    };
    let left = Arc::new(AtomicUsize::new(0));
    let (begun, has_begun) = channel();
    let (go_on, goes_on) = channel();
    let scarce = Scarce {
        refusals: left.clone(),
        begun,
        go_on: crate::lock::Mutex::new(goes_on),
    };
    let cache = Cache::new(&monitor, options, Box::new(scarce)).unwrap();
    if while_undoing {
        drop(cache.get(region(0), 1).unwrap());
    }
    let result = std::thread::scope(|scope| {
        scope.spawn(|| cache.invalidate(region(0)).unwrap());
        if while_undoing {
            has_begun.recv().unwrap();
        }
        left.store(refusals, Ordering::SeqCst);
        let result = cache.get(region(1), 1).map(drop).err();
        // Both that one and, in the end, this.
        drop(go_on);
        result
    });
    (result, refusals - left.load(Ordering::SeqCst))
}

#[test]
fn what_another_thread_releases_is_waited_for() {
    assert_eq!(get_refused(3, true), (None, 3));
}

#[test]
fn nothing_is_waited_for_where_nothing_is_released() {
    assert_eq!(get_refused(3, false), (Some(Errno::ENOMEM), 1));
}

/// The other thread may be waiting for this one.
#[test]
fn a_release_that_does_not_end_is_not_waited_for_for_ever() {
    let (result, asked) = get_refused(usize::MAX, true);
    assert_eq!(result, Some(Errno::ENOMEM));
    assert_eq!(asked, NAPS as usize + 1);
}
