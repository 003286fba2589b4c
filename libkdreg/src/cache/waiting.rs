// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who waits to be told that something is done.

use crate::errno::Errno;
use crate::memory;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

/// What is to be called, once.
#[derive(Clone, Copy)]
pub(crate) struct Done {
    /// Calls `function` with `arg`.
    pub call: fn(Done),
    pub function: usize,
    pub arg: usize,
}

/// What is to be called when an entry has been deregistered, and what after it.
pub(super) struct Waiting {
    done: Done,
    next: *mut Waiting,
}

impl Waiting {
    pub fn new(done: Done) -> Result<Box<Waiting>, Errno> {
        let next = null_mut();
        memory::try_box(Waiting { done, next })
    }
}

/// The first of an entry's. Written under the lock, taken by who releases the
/// entry.
#[repr(transparent)]
pub(super) struct AllWaiting(AtomicPtr<Waiting>);

impl AllWaiting {
    /// Adds one. Under the lock.
    pub fn push(&self, mut waiting: Box<Waiting>) {
        waiting.next = self.0.load(Ordering::Relaxed);
        // Relaxed: who takes them retired the entry, after the lock was let go.
        self.0.store(Box::into_raw(waiting), Ordering::Relaxed);
    }

    /// Takes them all, the last that was added first.
    pub fn take(&self) -> Taken {
        Taken(self.0.swap(null_mut(), Ordering::Relaxed))
    }
}

/// Those that were taken, to be called.
pub(super) struct Taken(*mut Waiting);

impl Iterator for Taken {
    type Item = Done;

    fn next(&mut self) -> Option<Done> {
        // SAFETY: null, or from Box::into_raw, in one list, which is ours.
        let waiting = (!self.0.is_null()).then(|| unsafe { Box::from_raw(self.0) })?;
        self.0 = waiting.next;
        Some(waiting.done)
    }
}
