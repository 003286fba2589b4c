// SPDX-License-Identifier: MIT OR Apache-2.0
//! Saying no.

use kdreg::monitor::bpf::abi;
use std::fmt;

/// Why a client does not get what it wants.
#[derive(Debug)]
pub struct Refusal {
    /// As an error number, positive.
    pub errno: i32,
    /// For people.
    pub text: String,
}

impl Refusal {
    /// A reason.
    pub fn new(errno: i32, text: impl Into<String>) -> Refusal {
        Refusal {
            errno,
            text: text.into(),
        }
    }

    /// As it is sent. What does not fit is cut off between characters.
    pub fn message(&self) -> abi::Refused {
        abi::Refused {
            header: <abi::Refused as abi::Message>::header(),
            status: -self.errno,
            reserved: 0,
            text: padded(&self.text),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<anyhow::Error> for Refusal {
    /// What went wrong in kdregd itself.
    fn from(error: anyhow::Error) -> Refusal {
        let errno = error
            .chain()
            .find_map(|cause| cause.downcast_ref::<std::io::Error>()?.raw_os_error())
            .unwrap_or(libc::EIO);
        Refusal::new(errno, format!("{error:#}"))
    }
}

/// Text with zeros behind, one at least.
pub fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut end = text.len().min(N - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut bytes = [0; N];
    bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::padded;

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(padded::<4>("abc"), *b"abc\0");
        assert_eq!(padded::<4>("abcd"), *b"abc\0");
        assert_eq!(padded::<4>("abé"), *b"ab\0\0");
        assert_eq!(padded::<4>(""), [0; 4]);
    }
}
