// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of the process: nothing that waits is begun any more, since objects that
//! callbacks use may be gone.

use crate::pause;
use crate::process::{self, PerProcess};
use crate::thread_registry::local::INNERMOST;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long the end of the process waits for what is being done.
const PATIENCE: Duration = Duration::from_millis(100);

/// The process exits.
static EXITING: AtomicBool = AtomicBool::new(false);

/// How many threads are at work. A child begins with none.
static AT_WORK: PerProcess<AtomicUsize> = PerProcess::new();

/// Whether it does.
pub(super) fn has_begun() -> bool {
    EXITING.load(Ordering::SeqCst)
}

/// While this lives, the calling thread may call callbacks.
pub(super) struct Busy(&'static AtomicUsize);

impl Busy {
    /// `None` when the process exits.
    pub fn new() -> Option<Busy> {
        let busy = Busy(AT_WORK.get().ok()?);
        // SeqCst, as all here: of this thread and the one that exits, one sees
        // what the other wrote first.
        busy.0.fetch_add(1, Ordering::SeqCst);
        (!EXITING.load(Ordering::SeqCst)).then_some(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Has the process look at its exit, before what the application had constructed
/// when it first used this is destroyed.
pub(super) fn watch() {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    process::at_exit(&INSTALLED, at_exit);
}

extern "C" fn at_exit() {
    EXITING.store(true, Ordering::SeqCst);
    let Ok(at_work) = AT_WORK.get() else { return };
    // It may be what a callback calls that exits.
    if INNERMOST.get() != 0 {
        return;
    }
    let until = Instant::now() + PATIENCE;
    while at_work.load(Ordering::SeqCst) > 0 && Instant::now() < until {
        pause::sleep(Duration::from_millis(1));
    }
}
