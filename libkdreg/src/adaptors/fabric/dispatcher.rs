// SPDX-License-Identifier: MIT OR Apache-2.0
//! The thread that tells libfabric what changed, so that the registrations of
//! memory that is gone do not stay pinned until somebody looks them up.

use super::ranges::Key;
use super::{Imported, Subscriptions};
use crate::background::{self, Stack};
use crate::descriptor::Descriptor;
use crate::errno::Errno;
use crate::lock::{Condvar, Mutex};
use crate::memory::Share;
use crate::monitor::{Event, eventfd};
use crate::process::{self, PerProcess};
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How long the end of the process waits for a notification under way.
const PATIENCE_AT_EXIT: Duration = Duration::from_secs(1);

/// The import's side of the thread.
pub(super) struct Dispatcher {
    /// Readable when the thread is to end.
    stop: Descriptor,
    /// Protects the phase; a leaf.
    phase: Mutex<Phase>,
    /// Signalled when the phase becomes `Ended`.
    ended: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    NotStarted,
    Running,
    Ended,
}

impl Dispatcher {
    pub fn new() -> Result<Dispatcher, Errno> {
        Ok(Dispatcher {
            stop: eventfd::new()?,
            phase: Mutex::new(Phase::NotStarted),
            ended: Condvar::new(),
        })
    }

    /// Ends the thread; once this returns it calls libfabric no more.
    pub fn end(&self) {
        eventfd::signal(self.stop.number());
        let mut phase = self.phase.lock();
        while *phase == Phase::Running {
            phase = self.ended.wait(phase);
        }
    }

    /// As `end`, for a process that is ending: another thread may have been
    /// stopped inside libfabric, with its locks.
    fn end_soon(&self) {
        eventfd::signal(self.stop.number());
        let phase = self.phase.lock();
        if *phase == Phase::Running {
            drop(self.ended.wait_for(phase, PATIENCE_AT_EXIT));
        }
    }
}

/// Starts the thread, unless it is there. The import stays until the thread has
/// said that it ended, and may be gone after that: what it says it by is its own.
pub(super) fn start(imported: &'static Imported) -> Result<(), Errno> {
    let dispatcher = imported.dispatcher.clone();
    let mut phase = imported.dispatcher.phase.lock();
    if *phase != Phase::NotStarted {
        return Ok(());
    }
    background::spawn(c"kdreg-fabric", Stack::Ordinary, move || {
        run(imported);
        *dispatcher.phase.lock() = Phase::Ended;
        dispatcher.ended.notify_all();
    })?;
    *phase = Phase::Running;
    Ok(())
}

/// The thread of the process's import, as long as there is one. Protects the
/// share; a leaf.
#[derive(Default)]
struct Current(Mutex<Option<Share<Dispatcher>>>);

/// A child finds none: it has no such thread.
static CURRENT: PerProcess<Current> = PerProcess::new();

/// libfabric's destructor destroys the locks that `notify` takes; functions
/// given to atexit run before it, as libfabric was loaded earlier.
pub(super) fn end_at_exit(dispatcher: &Share<Dispatcher>) {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    extern "C" fn at_exit() {
        // Not a wait: another thread may have been stopped with the lock.
        let Ok(current) = CURRENT.get() else { return };
        let dispatcher = current.0.try_lock().and_then(|current| current.clone());
        if let Some(dispatcher) = dispatcher {
            dispatcher.end_soon();
        }
    }
    // Without memory for it the process ends without that wait.
    if let Ok(current) = CURRENT.get() {
        *current.0.lock() = Some(dispatcher.clone());
    }
    process::at_exit(&INSTALLED, at_exit);
}

/// Undoes `end_at_exit`, once the thread has ended.
pub(super) fn forget(dispatcher: &Share<Dispatcher>) {
    if let Ok(current) = CURRENT.get() {
        let mut current = current.0.lock();
        if current.as_ref().is_some_and(|it| it.ptr_eq(dispatcher)) {
            *current = None;
        }
    }
}

fn run(imported: &Imported) {
    let mut events = [Event::default(); 32];
    while wait(imported) {
        loop {
            let Ok(taken) = imported.monitor.drain(&mut events) else {
                return;
            };
            for event in &events[..taken] {
                if let Some(range) = event.range {
                    drop_stale(imported, range.into(), event.cookie);
                }
            }
            // After the drain, which makes the descriptor unreadable: what is
            // put there from now on wakes this thread again.
            let due = std::mem::take(&mut imported.subscriptions.lock().due);
            for (key, id) in due {
                drop_stale(imported, key, id);
            }
            if taken < events.len() {
                break;
            }
        }
    }
}

/// Waits for something to do; `false` when it is time to end.
fn wait(imported: &Imported) -> bool {
    let on = |fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut fds = [
        on(imported.dispatcher.stop.as_raw_fd()),
        on(imported.monitor.event_fd().as_raw_fd()),
    ];
    loop {
        // SAFETY: two entries of a local array, written in place.
        let ready = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, -1) };
        if ready > 0 {
            return fds[0].revents == 0;
        }
        if ready < 0 && Errno::last().value() != libc::EINTR {
            return false;
        }
    }
}

/// Has libfabric drop a range, if that is still the subscription in question.
fn drop_stale(imported: &Imported, key: Key, id: u64) {
    // The lock ends here: libfabric calls `unsubscribe` from inside `notify`.
    // A subscription that takes this one's place in between is dropped too,
    // and costs a registration.
    let current = imported.subscriptions.lock().ranges.holds(key, id);
    if current {
        imported.notify(key);
    }
}

impl Subscriptions {
    /// Remembers that libfabric is to drop a range.
    pub fn put_due(&mut self, key: Key) {
        // Without memory the registration stays pinned until it is looked up.
        if let Some(id) = self.ranges.id(key) {
            if self.due.try_reserve(1).is_ok() {
                self.due.push((key, id));
            }
        }
    }
}
