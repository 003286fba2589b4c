// SPDX-License-Identifier: MIT OR Apache-2.0
//! The environment, as far as it may be believed.

use std::ffi::CStr;

/// The value of a variable, kept without allocating: what is longer is cut off,
/// and is no word that this library knows.
pub(crate) struct Value {
    bytes: [u8; 128],
    length: usize,
}

impl Value {
    /// As text; what is none is shown as such.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or("(not UTF-8)")
    }
}

impl AsRef<str> for Value {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// The value of a variable; `None` in a program that runs with more rights
/// than whoever started it (set-user-ID and the like), as `secure_getenv(3)`
/// has it: what its caller put there is not to steer it.
pub(crate) fn variable(name: &CStr) -> Option<Value> {
    // SAFETY: reads a word that the kernel gave the program when it started.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        return None;
    }
    // SAFETY: a C string. As for everybody who reads the environment, nobody
    // may change it meanwhile; it is copied at once.
    let value = unsafe {
        let value = libc::getenv(name.as_ptr());
        (!value.is_null()).then(|| CStr::from_ptr(value))
    }?;
    let value = value.to_bytes();
    let mut kept = Value {
        bytes: [0; 128],
        length: value.len().min(128),
    };
    kept.bytes[..kept.length].copy_from_slice(&value[..kept.length]);
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_there() {
        assert!(variable(c"PATH").is_some_and(|value| !value.as_str().is_empty()));
        assert!(variable(c"KDREG_NO_SUCH_VARIABLE").is_none());
    }
}
