// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cancelling threads: libibverbs and its drivers write, read and wait as they
//! like, which are cancellation points. A thread that is cancelled there is
//! unwound through the functions of this library that called them.
//!
//! Where that would leave something undone (a lock that is held, an entry or
//! a registration in hand), it is held off: the thread leaves the function
//! first, and ends at its next cancellation point. What programs call again and
//! again has nothing in hand when it calls the driver, and nothing to drop: it
//! is `extern "C-unwind"`, and the thread ends where it would have ended
//! without this library.

use std::ffi::c_int;

const DISABLE: c_int = 1;

unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}

/// Runs `body` in the calling thread, which is not cancelled meanwhile.
#[inline]
pub fn held_off<T>(body: impl FnOnce() -> T) -> T {
    let mut before = DISABLE;
    // SAFETY: writes the former state to a local variable. It cannot fail for a
    // state that there is, nor can it for the one that it gave.
    unsafe { pthread_setcancelstate(DISABLE, &raw mut before) };
    let result = body();
    if before != DISABLE {
        // SAFETY: as above; null asks for no former state.
        unsafe { pthread_setcancelstate(before, std::ptr::null_mut()) };
    }
    result
}
