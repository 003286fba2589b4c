// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event descriptors: what subscribers poll, and how threads are woken.

use crate::errno::Errno;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A new, non-blocking, close-on-exec eventfd.
pub(crate) fn new() -> Result<OwnedFd, Errno> {
    // SAFETY: eventfd(2) takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(Errno::last());
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes `fd` readable. Never blocks: a full counter is readable already.
pub(crate) fn signal(fd: RawFd) {
    let one: u64 = 1;
    // SAFETY: writes 8 bytes from a local variable; async-signal-safe.
    unsafe { libc::write(fd, (&raw const one).cast(), size_of::<u64>()) };
}

/// Makes `fd` unreadable until the next signal.
pub(crate) fn clear(fd: &impl AsRawFd) {
    let mut count: u64 = 0;
    // SAFETY: reads 8 bytes into a local variable; an empty counter gives
    // EAGAIN, which is what is wanted.
    unsafe { libc::read(fd.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
}
