// SPDX-License-Identifier: MIT OR Apache-2.0
//! The library's locks: the standard library's, one futex word each, that a
//! panic does not poison.
//!
//! All of a lock is in the lock. A fork while another thread holds it leaves
//! that one lock held in the child, no other, and a child makes anew what is
//! behind those it needs (`process`); there is no table behind all locks of
//! the process, which a child would inherit locked and could not set right.
//! Neither taking a lock nor waiting for it allocates.
//!
//! No panic leaves what a lock protects half changed: what can panic (the
//! caller's functions) runs with none held.

use std::sync::{self, PoisonError, TryLockError};
use std::time::Duration;

pub(crate) use std::sync::MutexGuard;

/// Mutual exclusion.
#[derive(Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Mutex<T> {
        Mutex(sync::Mutex::new(value))
    }

    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Waits for what changes under a [`Mutex`].
#[derive(Default)]
pub(crate) struct Condvar(sync::Condvar);

impl Condvar {
    pub const fn new() -> Condvar {
        Condvar(sync::Condvar::new())
    }

    /// Waits, not holding the lock; may return for no reason.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`wait`](Self::wait), for `limit` at most.
    pub fn wait_for<'a, T>(&self, guard: MutexGuard<'a, T>, limit: Duration) -> MutexGuard<'a, T> {
        self.0
            .wait_timeout(guard, limit)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}
