// SPDX-License-Identifier: MIT OR Apache-2.0
//! The library's locks: one futex word each, that no panic poisons.
//!
//! All of a lock is in the lock. A fork while another thread holds it leaves
//! that one lock held in the child, no other, and a child makes anew what is
//! behind those it needs (`process`); there is no table behind all locks of
//! the process, which a child would inherit locked and could not set right.
//! Neither taking a lock nor waiting for it allocates, nor is it a cancellation
//! point: futex(2) is called by its number.
//!
//! No panic leaves what a lock protects half changed: what can panic (the
//! caller's functions) runs with none held. So nothing asks, when a lock is taken
//! and when it is let go, whether the thread panics, as the standard library's
//! do.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const FREE: u32 = 0;
/// Nobody sleeps until it is free.
const HELD: u32 = 1;
/// Held, and somebody may sleep: whoever lets go wakes one.
const AWAITED: u32 = 2;

/// How often the word is looked at before its thread sleeps: locks are held for
/// short times.
const LOOKS: u32 = 100;

/// Mutual exclusion.
#[derive(Default)]
pub(crate) struct Mutex<T> {
    word: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by whoever holds the lock, one thread at a time,
// which may be any: all that is asked of it is that it may change threads.
unsafe impl<T: Send> Sync for Mutex<T> {}

/// A lock that is held, until this is dropped, by the thread that took it.
#[must_use = "a lock that is let go at once protects nothing"]
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    not_send: PhantomData<*const ()>,
}

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Mutex<T> {
        Mutex {
            word: AtomicU32::new(FREE),
            value: UnsafeCell::new(value),
        }
    }

    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        if !self.take() {
            self.wait_for_it();
        }
        self.held()
    }

    /// The lock, if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.take().then(|| self.held())
    }

    fn held(&self) -> MutexGuard<'_, T> {
        MutexGuard {
            mutex: self,
            not_send: PhantomData,
        }
    }

    #[inline]
    fn take(&self) -> bool {
        // Acquire, here and below: pairs with the Release of whoever let go, so
        // that what was done under the lock comes before what is done now.
        self.word
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    #[cold]
    fn wait_for_it(&self) {
        if self.look() == FREE && self.take() {
            return;
        }
        // Taken as awaited, since others may sleep that were not woken: at
        // worst the next one to let go calls for nobody.
        while self.word.swap(AWAITED, Ordering::Acquire) != FREE {
            sleep_while(&self.word, AWAITED, None);
            self.look();
        }
    }

    /// Waits a little for the word to be free, unless others sleep for that.
    fn look(&self) -> u32 {
        for _ in 0..LOOKS {
            // Relaxed: a hint.
            let now = self.word.load(Ordering::Relaxed);
            if now != HELD {
                return now;
            }
            std::hint::spin_loop();
        }
        HELD
    }

    #[cold]
    fn wake_one(&self) {
        wake(&self.word, 1);
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held while this lives, and the only other ways
        // to the value are `&self` and `&mut self` of this.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Release: pairs with the Acquire of the next to take it.
        if self.mutex.word.swap(FREE, Ordering::Release) == AWAITED {
            self.mutex.wake_one();
        }
    }
}

/// Waits for what changes under a [`Mutex`].
#[derive(Default)]
pub(crate) struct Condvar {
    /// How often it was notified. Relaxed: a notifier that changed something
    /// held the mutex after the waiter looked at this and let it go, so that
    /// the waiter's look comes before the notifier's change of this, by the
    /// mutex's order.
    notices: AtomicU32,
}

impl Condvar {
    pub const fn new() -> Condvar {
        Condvar {
            notices: AtomicU32::new(0),
        }
    }

    /// Waits, not holding the lock; may return for no reason.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_within(guard, None)
    }

    /// As [`wait`](Self::wait), for `limit` at most.
    pub fn wait_for<'a, T>(&self, guard: MutexGuard<'a, T>, limit: Duration) -> MutexGuard<'a, T> {
        self.wait_within(guard, Some(limit))
    }

    fn wait_within<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, T> {
        let seen = self.notices.load(Ordering::Relaxed);
        let mutex = guard.mutex;
        drop(guard);
        sleep_while(&self.notices, seen, limit);
        mutex.lock()
    }

    pub fn notify_all(&self) {
        self.notices.fetch_add(1, Ordering::Relaxed);
        wake(&self.notices, i32::MAX);
    }
}

/// Sleeps until it is woken, if `word` still has a value; may return for no
/// reason.
fn sleep_while(word: &AtomicU32, value: u32, limit: Option<Duration>) {
    let time = limit.map(|limit| libc::timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: limit.subsec_nanos() as libc::c_long,
    });
    let time = (time.as_ref()).map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: reads a word that is borrowed, and a local variable or nothing.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            value,
            time,
        )
    };
}

/// Wakes so many of those that sleep.
fn wake(word: &AtomicU32, count: i32) {
    // SAFETY: the kernel looks for those that sleep by the word's address, and
    // does not look at the word, which may be gone by now.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            count,
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let count = Mutex::new(0u64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..20_000 {
                        let mut count = count.lock();
                        let before = *count;
                        if round % 1000 == 0 {
                            // So that others sleep for it.
                            std::thread::yield_now();
                        }
                        *count = before + 1;
                    }
                });
            }
        });
        assert_eq!(*count.lock(), 80_000);
        assert_eq!(count.word.load(Ordering::Relaxed), FREE);
    }

    #[test]
    fn what_is_held_is_not_to_be_had() {
        let mutex = Mutex::new(());
        let held = mutex.try_lock();
        assert!(held.is_some() && mutex.try_lock().is_none());
        drop(held);
        assert!(mutex.try_lock().is_some());
    }

    /// A panic lets it go, and does not poison it.
    #[test]
    fn a_panic_poisons_nothing() {
        let mutex = Mutex::new(1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _held = mutex.lock();
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(panicked.is_err());
        assert_eq!(*mutex.lock(), 1);
    }

    /// Two threads take turns: each change is noticed by who waits for it.
    #[test]
    fn changes_are_noticed() {
        let turn = Mutex::new(0u32);
        let changed = Condvar::new();
        let play = |parity: u32| {
            let mut turn = turn.lock();
            for _ in 0..2000 {
                while *turn % 2 != parity {
                    turn = changed.wait(turn);
                }
                *turn += 1;
                changed.notify_all();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| play(0));
            scope.spawn(|| play(1));
        });
        assert_eq!(*turn.lock(), 4000);
    }

    /// It comes back although nobody notifies it, and holds the lock.
    #[test]
    fn waiting_has_a_limit() {
        let mutex = Mutex::new(());
        let guard = Condvar::new().wait_for(mutex.lock(), Duration::from_millis(1));
        assert!(mutex.try_lock().is_none());
        drop(guard);
        assert!(mutex.try_lock().is_some());
    }
}
