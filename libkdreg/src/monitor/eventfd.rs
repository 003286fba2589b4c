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

/// A descriptor that is readable while any of `fds` is: to be polled only.
pub(crate) fn any_of(fds: [RawFd; 2]) -> Result<OwnedFd, Errno> {
    // SAFETY: epoll_create1 takes no pointers.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if epoll < 0 {
        return Err(Errno::last());
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
    for fd in fds {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: 0,
        };
        // SAFETY: reads one event description from a local variable.
        let failed =
            unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) }
                != 0;
        if failed {
            return Err(Errno::last());
        }
    }
    Ok(epoll)
}

/// Makes `fd` readable. Never blocks: a full counter is readable already.
pub(crate) fn signal(fd: RawFd) {
    let one: u64 = 1;
    // By its number: the C library's write() is a cancellation point.
    // SAFETY: writes 8 bytes from a local variable; async-signal-safe.
    unsafe { libc::syscall(libc::SYS_write, fd, &raw const one, size_of::<u64>()) };
}

/// Makes `fd` unreadable until the next signal.
pub(crate) fn clear(fd: &impl AsRawFd) {
    let mut count: u64 = 0;
    // As in `signal`.
    // SAFETY: reads 8 bytes into a local variable; an empty counter gives
    // EAGAIN, which is what is wanted.
    unsafe {
        libc::syscall(
            libc::SYS_read,
            fd.as_raw_fd(),
            &raw mut count,
            size_of::<u64>(),
        )
    };
}
