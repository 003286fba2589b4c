// SPDX-License-Identifier: MIT OR Apache-2.0
//! Between Rust results and C return values; no panic crosses.
//!
//! # Threads that end, and exceptions
//! The outermost frame of a call is here: what escaped from a callback goes on
//! from it (`unwinding`), outside of `catch_unwind` and with nothing left to
//! drop. So every exported function that gets here is `extern "C-unwind"`. None
//! is cancelled in the library's own code (`cancellation`): what calls none of
//! the caller's callbacks holds it off altogether, and the rest where it may
//! wait.

use crate::cancellation::held_off;
use crate::errno::Errno;
use crate::log::{self, Level};
use crate::race_detector::unwatched;
use crate::unwinding;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `body`; a panic, which is a bug of this library, becomes `otherwise`.
#[inline]
pub(crate) fn shielded<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    // AssertUnwindSafe: the library's locks do not poison, and every state
    // they protect is valid between steps.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => value,
        Err(_) => {
            // The message went to standard error through the panic hook.
            log::say(
                Level::Error,
                format_args!("internal error: a panic was caught"),
            );
            otherwise
        }
    }
}

/// The C form of a result without a value.
#[inline]
fn negated(body: impl FnOnce() -> Result<(), Errno>) -> c_int {
    shielded(Errno::EIO.negated(), || match body() {
        Ok(()) => 0,
        Err(error) => error.negated(),
    })
}

/// The C form of a result that is a count.
#[inline]
fn counted(body: impl FnOnce() -> Result<usize, Errno>) -> c_int {
    shielded(Errno::EIO.negated(), || match body() {
        Ok(count) => c_int::try_from(count).unwrap_or(c_int::MAX),
        Err(error) => error.negated(),
    })
}

/// A call that calls none of the caller's callbacks but, perhaps, the log's:
/// whatever it does, the thread is not cancelled meanwhile.
pub(crate) fn status(body: impl FnOnce() -> Result<(), Errno>) -> c_int {
    let status = unwatched(|| held_off(|| negated(body)));
    unwinding::resume_held();
    status
}

/// As `status`, with a result that is a count.
pub(crate) fn count(body: impl FnOnce() -> Result<usize, Errno>) -> c_int {
    let count = unwatched(|| held_off(|| counted(body)));
    unwinding::resume_held();
    count
}

/// As `status`, for a function that another library calls, perhaps with a lock
/// held: a thread that ended in the log's function goes on to its end at its
/// next call of this library.
pub(crate) fn status_for_library(body: impl FnOnce() -> Result<(), Errno>) -> c_int {
    unwatched(|| held_off(|| negated(body)))
}

/// A call that calls callbacks of the caller's.
pub(crate) fn status_of_callbacks(body: impl FnOnce() -> Result<(), Errno>) -> c_int {
    let status = unwatched(|| negated(body));
    unwinding::resume_held();
    status
}

/// As `status_of_callbacks`, with a result that is a count.
pub(crate) fn count_of_callbacks(body: impl FnOnce() -> Result<usize, Errno>) -> c_int {
    let count = unwatched(|| counted(body));
    unwinding::resume_held();
    count
}

/// A call that must not cost much where it calls nothing: its result says
/// whether a callback did not return.
#[inline]
pub(crate) fn status_of_lookup(body: impl FnOnce() -> Result<(), Errno>) -> c_int {
    match shielded(Err(Errno::EIO), body) {
        Ok(()) => 0,
        Err(error) => failed(error),
    }
}

/// As `status_of_lookup`, with a result that is a count.
#[inline]
pub(crate) fn count_of_lookup(body: impl FnOnce() -> Result<usize, Errno>) -> c_int {
    match shielded(Err(Errno::EIO), body) {
        Ok(count) => c_int::try_from(count).unwrap_or(c_int::MAX),
        Err(error) => failed(error),
    }
}

/// The C form of an error, for whoever is still there to see it.
#[cold]
#[inline(never)]
fn failed(error: Errno) -> c_int {
    if error == Errno::ESCAPED {
        unwinding::resume_held();
    }
    error.negated()
}

/// Where a result is to be written: not null, aligned.
#[inline]
pub(crate) fn writable<T>(pointer: *mut T) -> Result<*mut T, Errno> {
    if pointer.is_null() || !pointer.is_aligned() {
        Err(Errno::EINVAL)
    } else {
        Ok(pointer)
    }
}

/// Where an argument is to be read from: not null, aligned.
pub(crate) fn readable<T>(pointer: *const T) -> Result<*const T, Errno> {
    if pointer.is_null() || !pointer.is_aligned() {
        Err(Errno::EINVAL)
    } else {
        Ok(pointer)
    }
}
