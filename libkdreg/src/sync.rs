// SPDX-License-Identifier: MIT OR Apache-2.0
//! The atomics of the small concurrent cores (`cache::refs`, `hazard`,
//! `monitor::guard`).
//!
//! Those files are compiled a second time by `tests/models.rs`, where this
//! module's names stand for loom's, so that every interleaving is explored.

pub(crate) use crate::barrier::heavy;
pub(crate) use crate::threads::Me;
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::time::Duration;

/// Threads that can own entries, with some room: any `u8` is an index.
pub(crate) const OWNERS: usize = 256;

/// Entries that can be shared at a time: what fits on a thread's line.
pub(crate) const PLACES: usize = 28;

/// The cheap side of an asymmetric pair of fences: keeps the compiler from
/// reordering, and leaves the processor to [`heavy`] in the other thread.
#[inline(always)]
pub(crate) fn light() {
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
}

/// Lets other threads run while one of them is waited for, the `round`th time.
pub(crate) fn pause(round: u32) {
    if round < 32 {
        std::hint::spin_loop();
    } else if round < 64 {
        std::thread::yield_now();
    } else {
        // A thread of higher priority must sleep for a lower one to run.
        sleep(Duration::from_micros(50));
    }
}

/// Sleeps for so long, or less. Not std's, which ends the thread where a filter
/// refuses the system call; and not through libc's, which is a cancellation point.
pub(crate) fn sleep(time: Duration) {
    let time = libc::timespec {
        tv_sec: time.as_secs() as libc::time_t,
        tv_nsec: time.subsec_nanos() as libc::c_long,
    };
    let nothing = std::ptr::null_mut::<libc::timespec>();
    // SAFETY: reads a local variable.
    unsafe {
        libc::syscall(
            libc::SYS_clock_nanosleep,
            libc::CLOCK_MONOTONIC,
            0,
            &raw const time,
            nothing,
        )
    };
}
