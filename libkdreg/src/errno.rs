// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors as the kernel and the C ABI know them: errno values.

use std::fmt;

/// An errno value (positive, as in `<errno.h>`).
///
/// The C ABI returns it negated. Every function of this crate that fails
/// leaves the state it was asked to change as it was.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

macro_rules! errnos {
    ($($name:ident: $text:literal,)*) => {
        impl Errno {
            $(
                #[doc = $text]
                pub const $name: Errno = Errno(libc::$name);
            )*

        /// The symbolic name and this library's explanation of an errno value.
        fn known(self) -> Option<(&'static str, &'static std::ffi::CStr)> {
            $(
                if self.0 == libc::$name {
                    // The explanation is kept as one C string, so that the C
                    // face can hand it out without copying.
                    const TEXT: &std::ffi::CStr = match std::ffi::CStr::from_bytes_with_nul(
                        concat!(stringify!($name), ": ", $text, "\0").as_bytes(),
                    ) {
                        Ok(text) => text,
                        Err(_) => panic!("an explanation contains NUL"),
                    };
                    return Some((stringify!($name), TEXT));
                }
            )*
            None
        }
        }
    };
}

errnos! {
    EINVAL: "invalid argument: null or misaligned pointer, empty or overflowing range, wrong structure size or unknown flag",
    EBADF: "not an open handle: it was closed or destroyed, or never came from this library",
    ECHILD: "the handle was inherited through fork(): a child opens its own",
    EFAULT: "part of the range is not mapped",
    EBUSY: "in use: entries are still held, or another userfaultfd owns this memory",
    EOPNOTSUPP: "this backend cannot watch that memory, so it is not cached",
    ENOSPC: "the monitor is full: no free region",
    ENOMEM: "out of memory or of mappings",
    ENODEV: "no such device, or the backend asked for does not work here (kdreg_info says why)",
    ELIBACC: "a library that is needed for this cannot be opened (the log says which, and why)",
    ENOENT: "nothing cached covers the range",
    EDEADLK: "a callback may not destroy the cache that called it, nor wait for its end",
    ESHUTDOWN: "the cache is being drained: nothing is registered any more",
    EALREADY: "that has begun already",
    EMFILE: "too many open handles",
    EPERM: "not permitted",
    EACCES: "permission denied",
    EIO: "input/output error",
    EAGAIN: "try again",
    ESRCH: "no such region",
    EBADSLT: "the slot holds another region",
    ENOSYS: "not provided by this kernel",
    ENOBUFS: "every slot is held: put some back, or ask for more of them",
    EMSGSIZE: "longer than one registration can be",
    EEXIST: "not from this thread, or there already",
    ENXIO: "the backend has stopped: nothing is valid any more",
    ECANCELED: "a callback did not return: it ended its thread, or an exception left it",
}

impl Errno {
    /// No errno: a callback did not return (`unwinding`). It reaches no caller.
    pub(crate) const ESCAPED: Errno = Errno(i32::MAX);

    /// The errno that `value` stands for. Zero, negative values and the largest,
    /// which no failing call should produce, become `EINVAL`.
    pub fn new(value: i32) -> Errno {
        match value {
            1.. if value != Errno::ESCAPED.0 => Errno(value),
            _ => Errno::EINVAL,
        }
    }

    /// The calling thread's `errno`, as the last failed system call left it.
    pub fn last() -> Errno {
        Errno::new(
            std::io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::EIO),
        )
    }

    /// The positive errno value.
    pub fn value(self) -> i32 {
        self.0
    }

    /// What the C ABI returns for this error.
    pub fn negated(self) -> i32 {
        -self.0
    }

    /// This library's explanation of the error, or `None` where it has none of its own.
    pub fn explanation(self) -> Option<&'static std::ffi::CStr> {
        self.known().map(|(_, text)| text)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some((_, text)) => f.write_str(text.to_str().unwrap_or_default()),
            // What the C library has to say may be translated, with memory and
            // locks that it needs for that.
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl std::error::Error for Errno {}

impl From<Errno> for std::io::Error {
    fn from(error: Errno) -> Self {
        std::io::Error::from_raw_os_error(error.0)
    }
}
