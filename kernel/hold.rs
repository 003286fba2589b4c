// SPDX-License-Identifier: GPL-2.0-only

//! The spin lock of an address space, and how long it is held: others who change a mapping of that
//! process, reclaim among them, wait for it.
//!
//! With the module parameter `measure_holds` the longest time is measured, and shown in fdinfo.
//! Without it this costs a look at a flag.

use core::ops::{Deref, DerefMut};
use kernel::{
    bindings,
    sync::{
        atomic::{Atomic, Relaxed},
        lock::spinlock::SpinLockGuard,
        CondVar, SpinLock,
    },
};

static MEASURING: Atomic<bool> = Atomic::new(false);

/// To be called before there is a device.
pub(crate) fn init(measure: bool) {
    // Relaxed: nobody else is there yet.
    MEASURING.store(measure, Relaxed);
}

/// Whether holds are measured.
pub(crate) fn is_measuring() -> bool {
    // Relaxed: it does not change any more.
    MEASURING.load(Relaxed)
}

/// Nanoseconds; never 0.
fn now() -> u64 {
    // SAFETY: This can be called at any time.
    unsafe { bindings::ktime_get_mono_fast_ns() }.max(1)
}

fn start() -> u64 {
    if is_measuring() {
        now()
    } else {
        0
    }
}

/// What a lock protects, and the longest that it was held, in nanoseconds.
pub(crate) struct Timed<T> {
    value: T,
    longest: u64,
}

impl<T> Timed<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { value, longest: 0 }
    }
}

/// A lock that is held.
pub(crate) struct Hold<'a, T: Unpin> {
    guard: SpinLockGuard<'a, Timed<T>>,
    /// Since when; 0 when that is not measured.
    since: u64,
}

impl<'a, T: Unpin> Hold<'a, T> {
    #[inline(always)]
    pub(crate) fn take(lock: &'a SpinLock<Timed<T>>) -> Self {
        let guard = lock.lock();
        Self {
            guard,
            since: start(),
        }
    }

    fn ends(&mut self) {
        // The clock may go back a little between processors.
        let time = now().saturating_sub(self.since);
        self.guard.longest = self.guard.longest.max(time);
    }

    /// Waits without the lock.
    pub(crate) fn wait(&mut self, condition: &CondVar) {
        if self.since != 0 {
            self.ends();
        }
        condition.wait(&mut self.guard);
        self.since = start();
    }

    /// The longest that the lock was held before.
    pub(crate) fn longest(&self) -> u64 {
        self.guard.longest
    }
}

impl<T: Unpin> Drop for Hold<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.since != 0 {
            self.ends();
        }
    }
}

impl<T: Unpin> Deref for Hold<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.guard.value
    }
}

impl<T: Unpin> DerefMut for Hold<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard.value
    }
}
