// SPDX-License-Identifier: MIT OR Apache-2.0
//! The atomics of the small concurrent cores (`cache::refs`, `hazard`,
//! `monitor::guard`).
//!
//! Those files are compiled a second time by `tests/models`, where this
//! module's names stand for loom's, so that every interleaving is explored.

pub(crate) use crate::barrier::heavy;
pub(crate) use crate::pause::pause;
pub(crate) use crate::thread_pointer::Me;
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
