// SPDX-License-Identifier: MIT OR Apache-2.0
//! The thread that releases what caches have lost, without waiting for anybody
//! to call them: memory that was unmapped does not stay pinned.
//!
//! One thread per process, there while there are caches that want it; when a
//! callback ends it (`unwinding`), another one follows. It waits on the caches'
//! event descriptors and reaps the one that has something. It calls no callback
//! any more once the process exits. It also answers whoever asks, by the status page, what the caches hold.
//!
//! # Locks
//! `REAPER`'s lock covers starting and ending the thread. `Shared::caches`
//! protects the list and who is being reaped; it is not held across a reap,
//! so callbacks may make and destroy other caches.

mod caches;
mod work;

use self::caches::{Caches, STATUS, STOP, name};
use self::work::{rest, run};
use super::Inner;
use crate::background::{self, Stack, Thread};
use crate::descriptor::Descriptor;
use crate::errno::Errno;
use crate::interpreter;
use crate::lock::{Condvar, Mutex, MutexGuard};
use crate::log::{self, Level};
use crate::memory::Share;
use crate::monitor::eventfd;
use crate::process::{self, PerProcess};
use crate::status_page::StatusPage;
use crate::unwinding;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Whether the reaper does nothing because of that. Relaxed: it may be seen late.
static RESTING: AtomicBool = AtomicBool::new(false);

/// The process exits: objects that callbacks use may be gone, and pins end with
/// the process. Relaxed: `Shared::caches`'s lock orders it with the reaper's looks.
static EXITING: AtomicBool = AtomicBool::new(false);

/// How long the end of the process waits for a callback under way.
const PATIENCE_AT_EXIT: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Reaper(Mutex<Option<Running>>);

impl Reaper {
    /// What it has in common with its thread, while it is wanted.
    fn shared(&self) -> Option<Share<Shared>> {
        self.0.lock().as_ref().map(|running| running.shared.clone())
    }
}

static REAPER: PerProcess<Reaper> = PerProcess::new();

struct Running {
    shared: Share<Shared>,
    /// `None`: it was ended by a callback, and no other could be started.
    thread: Option<Thread>,
}

struct Shared {
    epoll: Descriptor,
    stop: Descriptor,
    caches: Mutex<Caches>,
    /// Signalled when a reap is over.
    over: Condvar,
}

/// A cache is used: whatever ended the reaper before, there is something to be
/// done.
#[inline]
pub(super) fn rouse() {
    if RESTING.load(Ordering::Relaxed) {
        RESTING.store(false, Ordering::Relaxed);
    }
}

/// Has `cache` reaped from now on.
pub(super) fn add(cache: &Share<Inner>) -> Result<(), Errno> {
    stop_at_exit();
    interpreter::look();
    rouse();
    let mut reaper = REAPER.get()?.0.lock();
    if let Some(running) = &mut *reaper {
        if !running.has_its_descriptors() {
            let next = Running::new()?;
            running.give_way_to(&next.shared)?;
            // It hears of nothing any more, and nobody waits for it.
            *running = next;
        }
    }
    let running = match &mut *reaper {
        Some(running) => running,
        None => reaper.insert(Running::new()?),
    };
    if running.thread.is_none() {
        running.thread = Some(start(&running.shared)?);
    }
    let shared = &running.shared;
    let added = shared.caches.lock().add(cache);
    let result = added.and_then(|()| {
        let fd = cache.monitor.event_fd().as_raw_fd();
        watch(shared, fd, name(cache)).inspect_err(|_| shared.caches.lock().remove(cache))
    });
    if result.is_err() {
        end_if_idle(reaper);
    }
    result
}

/// Ends the reaping of `cache`; when this returns, the reaper is not in one of
/// its callbacks. Not to be called from one of them.
pub(super) fn remove(cache: &Share<Inner>) {
    let Ok(reaper) = REAPER.get() else { return };
    let Some(shared) = reaper.shared() else {
        return;
    };
    // Its number may be another cache's by now, and the set's another file's.
    if shared.epoll.is_ours() && cache.monitor.has_its_descriptor() {
        // SAFETY: takes a descriptor out of our own epoll set; no pointer is
        // read.
        unsafe {
            libc::epoll_ctl(
                shared.epoll.as_raw_fd(),
                libc::EPOLL_CTL_DEL,
                cache.monitor.event_fd().as_raw_fd(),
                std::ptr::null_mut(),
            );
        }
    }
    shared.caches.lock().remove(cache);
    shared.wait_for(cache);
    end_if_idle(reaper.0.lock());
}

/// Ends the thread when no cache needs it.
fn end_if_idle(mut reaper: MutexGuard<'_, Option<Running>>) {
    let idle = reaper
        .as_ref()
        .is_some_and(|running| running.shared.caches.lock().all.is_empty());
    if !idle {
        return;
    }
    let Some(running) = reaper.take() else {
        return;
    };
    drop(reaper);
    eventfd::signal(running.shared.stop.number());
    // On the reaper's own thread (a callback destroyed the last other
    // cache) there is nothing to wait for: it ends after this callback.
    // One without its descriptors does not hear of it.
    if !running.is_here() && running.has_its_descriptors() {
        if let Some(thread) = running.thread {
            thread.join();
        }
    }
}

/// Has the reaper call nothing any more when the process exits: before what
/// the application had constructed when it made its first cache is destroyed.
fn stop_at_exit() {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    process::at_exit(&INSTALLED, at_exit);
}

extern "C" fn at_exit() {
    EXITING.store(true, Ordering::Relaxed);
    let Ok(reaper) = REAPER.get() else { return };
    // Whoever has the lock is about to start the reaper, or to end it.
    let Some(guard) = reaper.0.try_lock() else {
        return;
    };
    let Some(shared) = guard.as_ref().map(|running| running.shared.clone()) else {
        return;
    };
    if guard.as_ref().is_some_and(Running::is_here) {
        return;
    }
    drop(guard);
    // Who begins to be busy after this sees that the process exits: it looks
    // under the lock.
    let until = Instant::now() + PATIENCE_AT_EXIT;
    let Some(mut caches) = shared.caches.try_lock() else {
        return;
    };
    while caches.busy.is_some() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        caches = shared.over.wait_for(caches, left);
    }
}

impl Running {
    /// Whether it hears of anything: the application has not closed its
    /// descriptors.
    fn has_its_descriptors(&self) -> bool {
        self.shared.epoll.is_ours() && self.shared.stop.is_ours()
    }

    /// Leaves the caches to another reaper; not in the middle of reaping one.
    fn give_way_to(&self, next: &Shared) -> Result<(), Errno> {
        let mut caches = self.shared.caches.lock();
        while caches.busy.is_some() && !self.is_here() {
            caches = self.shared.over.wait(caches);
        }
        next.caches.lock().take_over(&mut caches)
    }

    /// Whether the calling thread is the reaper.
    fn is_here(&self) -> bool {
        self.thread.as_ref().is_some_and(Thread::is_current)
    }

    fn new() -> Result<Running, Errno> {
        // SAFETY: epoll_create1 takes no pointers.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(Errno::last());
        }
        let epoll = Descriptor::new(epoll);
        let shared = Share::new(Shared {
            epoll,
            stop: eventfd::new()?,
            caches: Mutex::default(),
            over: Condvar::new(),
        })?;
        watch(&shared, shared.stop.as_fd().as_raw_fd(), STOP)?;
        let thread = Some(start(&shared)?);
        Ok(Running { shared, thread })
    }
}

fn start(shared: &Share<Shared>) -> Result<Thread, Errno> {
    // Caches work without it: they are only not to be seen from outside.
    let page = StatusPage::new().and_then(|page| {
        watch(shared, page.requests(), STATUS)?;
        Ok(page)
    });
    if let Err(error) = &page {
        log::say(
            Level::Info,
            format_args!("kdreg_info --pid will not see this process: {error}"),
        );
    }
    let shared = shared.clone();
    background::spawn(c"kdreg-reaper", Stack::Ordinary, move || {
        rest(&shared);
        run(&shared, page.ok());
        if unwinding::is_held() {
            have_followed(&shared);
        }
    })
}

/// A callback ended the calling thread, the reaper: another one takes its place,
/// unless nobody needs one any more.
#[cold]
fn have_followed(shared: &Share<Shared>) {
    let Ok(reaper) = REAPER.get() else { return };
    let mut reaper = reaper.0.lock();
    let Some(running) = &mut *reaper else { return };
    if !running.shared.ptr_eq(shared) {
        return;
    }
    RESTING.store(true, Ordering::Relaxed);
    let next = start(shared);
    if let Err(error) = &next {
        log::say(
            Level::Warn,
            format_args!(
                "a callback ended the thread that releases what was unmapped, and there is no \
                 other: what calls of the cache do not release stays registered: {error}"
            ),
        );
    }
    running.thread = next.ok();
}

fn watch(shared: &Shared, fd: RawFd, name: u64) -> Result<(), Errno> {
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: name,
    };
    // SAFETY: reads one event description from a local variable.
    let failed = unsafe {
        libc::epoll_ctl(
            shared.epoll.as_raw_fd(),
            libc::EPOLL_CTL_ADD,
            fd,
            &raw mut event,
        )
    } != 0;
    if failed { Err(Errno::last()) } else { Ok(()) }
}

impl Shared {
    /// Returns once `cache` is not being worked in.
    fn wait_for(&self, cache: &Share<Inner>) {
        let mut caches = self.caches.lock();
        while caches.busy == Some(name(cache)) {
            caches = self.over.wait(caches);
        }
    }
}
