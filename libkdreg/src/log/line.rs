// SPDX-License-Identifier: MIT OR Apache-2.0
//! One message, made on the stack and written at once.
//!
//! Not by std: its standard error has a lock, which a child forked meanwhile
//! inherits locked, and which whoever reads slowly makes others wait for.

use std::ffi::CStr;
use std::fmt;

/// The longest message, its NUL or newline included.
const CAPACITY: usize = 1024;

/// What a message ends with that was longer.
const CUT: &str = " ...";

/// A message of bounded length; what is longer is cut off.
pub(super) struct Line {
    bytes: [u8; CAPACITY],
    length: usize,
}

impl Line {
    pub fn of(message: fmt::Arguments<'_>) -> Line {
        let mut line = Line {
            bytes: [0; CAPACITY],
            length: 0,
        };
        if fmt::write(&mut line, message).is_err() {
            let room = line.length.min(CAPACITY - 1 - CUT.len());
            // At the beginning of a character.
            let end = (0..=room)
                .rev()
                .find(|&end| line.bytes[end] & 0xc0 != 0x80)
                .unwrap_or(0);
            line.bytes[end..end + CUT.len()].copy_from_slice(CUT.as_bytes());
            line.length = end + CUT.len();
            line.bytes[line.length..].fill(0);
        }
        line
    }

    /// The message.
    pub fn as_c_str(&self) -> &CStr {
        // There is a NUL at the end of all. A message with one in it ends there.
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }

    /// Writes it to standard error, with a newline, by one system call. That
    /// standard error is closed, or a pipe that nobody reads, is no reason to
    /// fail, nor for the process to end.
    pub fn write_to_standard_error(mut self) {
        self.bytes[self.length] = b'\n';
        let kept_off = KeptOff::new();
        // By its number: the C library's write() is a cancellation point.
        // SAFETY: reads as many bytes of a local array as it has.
        let written = unsafe {
            libc::syscall(
                libc::SYS_write,
                libc::STDERR_FILENO,
                self.bytes.as_ptr(),
                self.length + 1,
            )
        };
        kept_off.end(written < 0);
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // One place is kept for the end.
        let room = CAPACITY - 1 - self.length;
        let taken = text.len().min(room);
        self.bytes[self.length..self.length + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.length += taken;
        if taken < text.len() {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

/// SIGPIPE kept off the calling thread: a program that has nothing to say on
/// standard error itself must not be ended by what this library has to say.
struct KeptOff {
    pipe: libc::sigset_t,
    before: libc::sigset_t,
    /// There was one already: it is the application's.
    pending: bool,
}

impl KeptOff {
    fn new() -> KeptOff {
        // SAFETY: sigset_t is plain data; changes the calling thread's mask,
        // which `end` undoes.
        unsafe {
            let mut pipe: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            let mut pending: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut pipe);
            libc::sigaddset(&raw mut pipe, libc::SIGPIPE);
            libc::sigpending(&raw mut pending);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const pipe, &raw mut before);
            KeptOff {
                pipe,
                before,
                pending: libc::sigismember(&raw const pending, libc::SIGPIPE) == 1,
            }
        }
    }

    fn end(self, failed: bool) {
        let none = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: reads local variables; takes the signal that our own write
        // sent to this thread, and puts the mask back.
        unsafe {
            if failed && !self.pending {
                libc::sigtimedwait(&raw const self.pipe, std::ptr::null_mut(), &raw const none);
            }
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.before,
                std::ptr::null_mut(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let short = Line::of(format_args!("{} of {}", 1, 2));
        assert_eq!(short.as_c_str(), c"1 of 2");
        for shift in 0..4 {
            let long = Line::of(format_args!("{:shift$}{}", "", "\u{20ac}".repeat(CAPACITY)));
            let text = long.as_c_str().to_str().unwrap();
            assert!(text.ends_with("\u{20ac} ..."));
            assert!(text.len() > CAPACITY - 12 && text.len() < CAPACITY);
        }
    }
}
