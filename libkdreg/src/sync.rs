// SPDX-License-Identifier: MIT OR Apache-2.0
//! The atomics of the small concurrent cores (`cache::refs`, `owners`,
//! `monitor::guard`).
//!
//! Those files are compiled a second time by `tests/models.rs`, where this
//! module's names stand for loom's, so that every interleaving is explored.

pub(crate) use crate::barrier::heavy;
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

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
        let _held_off = crate::cancellation::HeldOff::new();
        std::thread::sleep(std::time::Duration::from_micros(50));
    }
}
