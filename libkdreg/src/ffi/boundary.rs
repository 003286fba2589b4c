// SPDX-License-Identifier: MIT OR Apache-2.0
//! Between Rust results and C return values; no panic crosses.

use crate::errno::Errno;
use crate::log::{self, Level};
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
pub(crate) fn status(body: impl FnOnce() -> Result<(), Errno>) -> c_int {
    shielded(Errno::EIO.negated(), || match body() {
        Ok(()) => 0,
        Err(error) => error.negated(),
    })
}

/// The C form of a result that is a count.
pub(crate) fn count(body: impl FnOnce() -> Result<usize, Errno>) -> c_int {
    shielded(Errno::EIO.negated(), || match body() {
        Ok(count) => c_int::try_from(count).unwrap_or(c_int::MAX),
        Err(error) => error.negated(),
    })
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
