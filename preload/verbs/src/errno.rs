// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calling thread's errno, which is part of what libibverbs answers.

use std::ffi::c_int;

/// What the calling thread's errno is.
pub fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Sets it, as libibverbs does for its callers.
pub fn set_errno(value: c_int) {
    // SAFETY: the address of the calling thread's errno.
    unsafe { *libc::__errno_location() = value }
}
