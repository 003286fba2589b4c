// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a kernel or machine does not have, by what its calls return.

use std::io;

/// What a reason begins with when it is kdregd that may not, as others may: then
/// nothing is known of the change.
pub const DENIED: &str = "kdregd may not try it: ";

/// Something this kernel or machine does not have.
#[derive(Debug)]
pub struct Absent(pub String);

impl Absent {
    /// A system call that failed just now.
    pub fn last(what: &str) -> Absent {
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(libc::EPERM) {
            return Absent(format!("{DENIED}{what}: {error}"));
        }
        Absent(format!("{what}: {error}"))
    }
}

/// What a call has returned that says -1 when it fails.
pub fn result(value: i64, what: &str) -> Result<(), Absent> {
    if value == -1 {
        Err(Absent::last(what))
    } else {
        Ok(())
    }
}
