// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cancelling threads: the library's own code is no cancellation point.
//!
//! A thread that is cancelled while it is inside the library leaves it in the
//! ordinary way, and ends at its next cancellation point. So what may wait,
//! read or write by way of the C library's functions runs with cancellation
//! held off; a hit makes no system call at all. The caller's callbacks run in
//! the state that the caller is in, and `unwinding` says what becomes of a
//! thread that ends there.

use std::ffi::c_int;

const DISABLE: c_int = 1;

unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}

/// While this lives, the calling thread is not cancelled.
pub(crate) struct HeldOff {
    /// The state before.
    before: c_int,
}

impl HeldOff {
    #[inline]
    pub fn new() -> HeldOff {
        let mut before = DISABLE;
        // SAFETY: writes the former state to a local variable. It cannot fail
        // for a state that there is.
        unsafe { pthread_setcancelstate(DISABLE, &raw mut before) };
        HeldOff { before }
    }
}

impl Drop for HeldOff {
    #[inline]
    fn drop(&mut self) {
        if self.before != DISABLE {
            // SAFETY: a state that this function gave; null asks for none back.
            // With deferred cancellation, the type that callers of this library
            // are to have, it is no cancellation point itself.
            unsafe { pthread_setcancelstate(self.before, std::ptr::null_mut()) };
        }
    }
}

/// From now on the calling thread, one of the library's, is not cancelled,
/// whatever was said before.
pub(crate) fn never() {
    std::mem::forget(HeldOff::new());
}

/// Runs `body` in the calling thread, which is not cancelled meanwhile.
#[inline]
pub(crate) fn held_off<T>(body: impl FnOnce() -> T) -> T {
    let _held_off = HeldOff::new();
    body()
}
