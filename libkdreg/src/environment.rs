// SPDX-License-Identifier: MIT OR Apache-2.0
//! The environment, as far as it may be believed.

use std::ffi::OsString;

/// The value of a variable; `None` in a program that runs with more rights
/// than whoever started it (set-user-ID and the like), as `secure_getenv(3)`
/// has it: what its caller put there is not to steer it.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    // SAFETY: reads a word that the kernel gave the program when it started.
    let secure = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    if secure { None } else { std::env::var_os(name) }
}
