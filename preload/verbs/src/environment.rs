// SPDX-License-Identifier: MIT OR Apache-2.0
//! Environment variables.

use std::ffi::CStr;

/// The value of a variable, which nobody may change while a program reads it.
pub fn variable(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: a C string, and one of the environment's.
    unsafe {
        let value = libc::getenv(name.as_ptr());
        (!value.is_null()).then(|| CStr::from_ptr(value))
    }
}

/// The same as text.
pub fn text_of(name: &CStr) -> Option<&'static str> {
    variable(name).map(|value| value.to_str().unwrap_or("(not UTF-8)"))
}

/// Whether a variable turns something on.
pub fn switch(name: &CStr) -> bool {
    variable(name).is_some_and(|value| !value.is_empty() && value != c"0")
}
