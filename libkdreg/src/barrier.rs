// SPDX-License-Identifier: MIT OR Apache-2.0
//! A memory barrier in every thread of the process, at the cost of one.
//!
//! `membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)` returns when every thread of
//! the process has executed a full barrier since it was called (those that do
//! not run did when they were switched out). Whoever often needs its stores
//! ordered before its loads then gets by with a compiler fence (`sync::light`),
//! and the one who rarely needs to know about them calls [`heavy`]: of a light
//! and a heavy fence, one comes wholly before the other, as of two `SeqCst`
//! fences. Of two light ones neither need.
//!
//! The kernel wants a process to register first. A forked child is another
//! process: it registers by itself.

use crate::errno::Errno;
use crate::log::{self, Level};
use crate::pause;
use crate::process::PerProcess;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

const QUERY: libc::c_int = 0;
const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

fn membarrier(command: libc::c_int) -> libc::c_long {
    // SAFETY: membarrier takes no pointers; it orders memory accesses only.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }
}

fn register() -> bool {
    membarrier(QUERY) & libc::c_long::from(REGISTER_PRIVATE_EXPEDITED) != 0
        && membarrier(REGISTER_PRIVATE_EXPEDITED) == 0
        && membarrier(PRIVATE_EXPEDITED) == 0
}

/// Whether the kernel serves this process.
struct Served(AtomicBool);

impl Default for Served {
    fn default() -> Served {
        Served(AtomicBool::new(register()))
    }
}

static SERVED: PerProcess<Served> = PerProcess::new();

/// Finds out whether the kernel serves this process, which needs memory: for who
/// will ask where there may be none.
pub(crate) fn prepare() -> Result<(), Errno> {
    SERVED.get().map(drop)
}

/// Whether [`heavy`] may be relied on. Once `false`, it stays so.
pub(crate) fn is_available() -> bool {
    // Relaxed: a flag that publishes nothing.
    SERVED
        .get()
        .is_ok_and(|served| served.0.load(Ordering::Relaxed))
}

/// The dear side of an asymmetric pair of fences. A system call; it waits for
/// no other thread.
pub(crate) fn heavy() {
    #[cfg(test)]
    tests::CALLS.set(tests::CALLS.get() + 1);
    // Full barriers in this thread as well, whatever the kernel says.
    fence(Ordering::SeqCst);
    if membarrier(PRIVATE_EXPEDITED) != 0 {
        withdrawn();
    }
    fence(Ordering::SeqCst);
}

/// Whether a process that registered is refused after all: a filter of system
/// calls was put in place since. No thread begins to rely on light fences from
/// now on; of those that do already, what is still on its way when that is ended
/// takes time and no more: a store leaves a processor's store buffer within microseconds, and a
/// thread that was interrupted on the way has passed a barrier of the kernel's.
#[cold]
fn withdrawn() {
    if register() {
        return;
    }
    if SERVED
        .get()
        .is_ok_and(|served| served.0.swap(false, Ordering::Relaxed))
    {
        log::say(
            Level::Warn,
            format_args!("membarrier(2) is refused since a filter was installed: hits cost more"),
        );
    }
    pause::sleep(Duration::from_millis(20));
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        /// How often this thread called [`heavy`].
        pub(crate) static CALLS: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn is_there_on_every_kernel_since_4_14() {
        // Without it (a filter) the rest of the library is tested all the same.
        if !is_available() {
            eprintln!("skipped: membarrier(2) is refused here");
            return;
        }
        heavy();
        assert!(is_available());
    }
}
