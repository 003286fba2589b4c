// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event descriptors: what subscribers poll, and how threads are woken.

use crate::descriptor::{Descriptor, File, Number};
use crate::errno::Errno;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// What all eventfds are, for the kernel's statx(2): nothing else that holds data
/// is that. Relaxed: it is the same each time it is stored.
static ANONYMOUS: (AtomicU64, AtomicU64) = (AtomicU64::new(0), AtomicU64::new(0));

/// A new, non-blocking, close-on-exec eventfd.
pub(crate) fn new() -> Result<Descriptor, Errno> {
    // SAFETY: eventfd(2) takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(Errno::last());
    }
    if let Ok(Some(file)) = File::of(fd) {
        ANONYMOUS.0.store(file.0, Ordering::Relaxed);
        ANONYMOUS.1.store(file.1, Ordering::Relaxed);
    }
    Ok(Descriptor::new(fd))
}

/// A descriptor that is readable while any of `fds` is: to be polled only.
pub(crate) fn any_of(fds: [RawFd; 2]) -> Result<Descriptor, Errno> {
    // SAFETY: epoll_create1 takes no pointers.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if epoll < 0 {
        return Err(Errno::last());
    }
    let epoll = Descriptor::new(epoll);
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

/// Makes an eventfd readable, if it still is that: a number that the application has
/// closed behind the library's back can be a file of its own by now. Never
/// blocks: a full counter is readable already.
pub(crate) fn signal(eventfd: Number) {
    if !eventfd.is_latest() {
        return;
    }
    let fd = eventfd.fd;
    let anonymous = File(
        ANONYMOUS.0.load(Ordering::Relaxed),
        ANONYMOUS.1.load(Ordering::Relaxed),
    );
    match File::of(fd) {
        Ok(Some(file)) if file != anonymous => return,
        Ok(None) => return,
        // Where the kernel does not say, it could not be said when the
        // descriptor was made either.
        _ => {}
    }
    let one: u64 = 1;
    // By its number: the C library's write() is a cancellation point.
    // SAFETY: writes 8 bytes from a local variable; async-signal-safe.
    unsafe { libc::syscall(libc::SYS_write, fd, &raw const one, size_of::<u64>()) };
}

/// Makes `fd` unreadable until the next signal.
pub(crate) fn clear(fd: &Descriptor) {
    if !fd.is_ours() {
        return;
    }
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
