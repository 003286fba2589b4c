// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes that have let go of mmap_lock but are not yet known to the handler.

use super::abi::UFFDIO_WRITEPROTECT;
use std::os::fd::RawFd;

/// What the kernel says about changes in flight.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum InFlight {
    /// None: every change so far has been read by the handler.
    None,
    /// At least one.
    Some,
    /// The descriptor is not a userfaultfd any more: somebody closed it.
    Gone,
}

/// Asks whether a change is in flight.
///
/// munmap drops mmap_lock before it queues its event, and another thread can
/// be handed the same address in between. The kernel counts such changes
/// (`mmap_changing`), and UFFDIO_WRITEPROTECT looks at the count before it
/// looks at its argument: EAGAIN while there are any, and with a null argument
/// EFAULT when there are none.
#[inline]
pub(crate) fn changes_in_flight(userfaultfd: RawFd) -> InFlight {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: the kernel refuses the null argument with EFAULT; nothing is
    // read or written. On a descriptor of another kind the request is unknown.
    let result = unsafe { libc::ioctl(userfaultfd, UFFDIO_WRITEPROTECT as _, nothing) };
    if result == 0 {
        return InFlight::Gone; // no userfaultfd accepts a null argument
    }
    // SAFETY: __errno_location returns the calling thread's errno.
    match unsafe { *libc::__errno_location() } {
        libc::EFAULT => InFlight::None,
        libc::EAGAIN => InFlight::Some,
        _ => InFlight::Gone,
    }
}
