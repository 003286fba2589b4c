// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a backend does not work here: what one that cannot be made says to those
//! who choose.

use crate::errno::Errno;
use std::fmt;

/// Why a backend does not work here.
#[derive(Clone, Copy)]
pub(crate) struct Refusal {
    pub error: Errno,
    pub reason: Reason,
}

/// A line of text, made without memory, which may be what there is none of; what
/// is too long is cut off.
#[derive(Clone, Copy)]
pub(crate) struct Reason {
    bytes: [u8; 240],
    length: usize,
}

impl Refusal {
    pub fn new(error: Errno, reason: fmt::Arguments<'_>) -> Refusal {
        let mut text = Reason {
            bytes: [0; 240],
            length: 0,
        };
        // A piece that does not fit is left out.
        let _ = fmt::write(&mut text, reason);
        Refusal {
            error,
            reason: text,
        }
    }
}

impl fmt::Write for Reason {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.length..self.length + text.len());
        room.ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl From<Errno> for Refusal {
    fn from(error: Errno) -> Self {
        Refusal::new(error, format_args!("{error}"))
    }
}
