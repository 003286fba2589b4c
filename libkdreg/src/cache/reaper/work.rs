// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the reaper's thread does, for as long as it is there.

use super::super::Inner;
use super::caches::{STATUS, STOP, name};
use super::{EXITING, RESTING, Shared};
use crate::background::{self, way};
use crate::errno::Errno;
use crate::interpreter;
use crate::monitor::Monitor;
use crate::pause;
use crate::status_page::{self, StatusPage};
use crate::unwinding;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long the thread stays away once it has reaped. Whoever unmaps much in a
/// row is then not held up each time by its being woken, on a processor that
/// may be their own; nothing that is found in a cache depends on it.
const NAP: Duration = Duration::from_millis(1);

/// How long a thread that follows another one, which a callback ended, does
/// nothing, unless a cache is used: a language that ends threads that come to it
/// is ending itself, and the process is likely to.
const REST: Duration = Duration::from_secs(1);

/// How often it looks whether a cache is used.
const LOOK: Duration = Duration::from_millis(10);

/// Does nothing while nothing should be done, and it is not to end.
pub(super) fn rest(shared: &Shared) {
    let mut left = REST.as_millis() / LOOK.as_millis();
    while RESTING.load(Ordering::Relaxed) && left > 0 {
        let mut stop = libc::pollfd {
            fd: shared.stop.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one local descriptor to be polled.
        if unsafe { libc::poll(&raw mut stop, 1, LOOK.as_millis() as libc::c_int) } > 0 {
            break;
        }
        left -= 1;
    }
    RESTING.store(false, Ordering::Relaxed);
}

/// Reaps what has something to be reaped, and shows what is asked for, until it is
/// to end, or a callback has ended it.
pub(super) fn run(shared: &Shared, mut page: Option<StatusPage>) {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 16];
    // The cache on whose monitor something rests that is to be let go.
    let mut resting: Option<u64> = None;
    let mut waited = false;
    loop {
        way::step_off();
        let limit = match resting {
            Some(_) => Monitor::REST.as_millis() as i32,
            None => -1,
        };
        // SAFETY: writes at most 16 events into a local array.
        let count = unsafe {
            libc::epoll_wait(
                shared.epoll.as_raw_fd(),
                events.as_mut_ptr(),
                events.len() as i32,
                limit,
            )
        };
        let Ok(count) = usize::try_from(count) else {
            if Errno::last().value() == libc::EINTR {
                continue;
            }
            return; // the descriptor was closed behind our back
        };
        if count == 0 {
            if let Some(name) = resting.take() {
                shared.with(name, |cache| {
                    resting = cache.monitor.let_go(false).then_some(name);
                });
            }
        }
        for event in &events[..count] {
            let name = event.u64;
            if !waited && interpreter::has_ended() {
                // Once: an interpreter may have been a part of a program that goes on.
                waited = true;
                RESTING.store(true, Ordering::Relaxed);
                rest(shared);
            }
            if name == STOP {
                return;
            }
            match &mut page {
                Some(page) if name == STATUS => show(shared, page),
                _ => shared.with(name, |cache| {
                    cache.reap_all();
                    if cache.monitor.let_go(false) {
                        resting = Some(name);
                    }
                }),
            }
            background::end_exception("the reaper");
            if unwinding::is_held() {
                return;
            }
        }
        pause::sleep(NAP);
    }
}

/// Answers who asked on the status page.
fn show(shared: &Shared, page: &mut StatusPage) {
    if !page.take_requests() {
        return;
    }
    page.publish_from(|text| {
        let _ = status_page::describe_process(text);
        // By place: without a list of all, which needs memory. One that is
        // destroyed meanwhile has another left out.
        for id in 0.. {
            let Some(cache) = shared.caches.lock().all.get(id).map(name) else {
                break;
            };
            shared.with(cache, |cache| cache.describe(id, text));
        }
    });
}

impl Shared {
    /// Does something with a cache, if it is still there; it is not destroyed
    /// meanwhile.
    fn with(&self, name: u64, work: impl FnOnce(&Inner)) {
        let mut caches = self.caches.lock();
        if EXITING.load(Ordering::Relaxed) {
            return;
        }
        let Some(cache) = caches.named(name) else {
            return;
        };
        caches.busy = Some(name);
        drop(caches);
        work(&cache);
        // Our share goes first: whoever waits for us must be the last.
        drop(cache);
        self.caches.lock().busy = None;
        self.over.notify_all();
    }
}
