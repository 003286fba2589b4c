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
/// looks at its argument: EAGAIN while there are any; when there are none, an
/// argument that asks for nothing gives EINVAL. (A null argument gives EFAULT,
/// by way of a page fault that costs more than all the rest.)
#[inline]
pub(crate) fn changes_in_flight(userfaultfd: RawFd) -> InFlight {
    match ask(userfaultfd, &raw const NOTHING) {
        libc::EINVAL => InFlight::None,
        libc::EAGAIN => InFlight::Some,
        _ => InFlight::Gone,
    }
}

/// Whether `fd` is a userfaultfd. EINVAL is what other descriptors may answer
/// too; EFAULT and EAGAIN are not.
pub(crate) fn is_userfaultfd(fd: RawFd) -> bool {
    matches!(ask(fd, std::ptr::null()), libc::EFAULT | libc::EAGAIN)
}

/// `struct uffdio_writeprotect`: start, length and mode.
type WriteProtect = [u64; 3];

/// An empty range.
static NOTHING: WriteProtect = [0; 3];

/// The errno that the request ends with; 0 if it should succeed.
#[inline]
fn ask(fd: RawFd, argument: *const WriteProtect) -> i32 {
    // SAFETY: the kernel reads the argument only, and refuses an empty range
    // or a null pointer. On a descriptor of another kind the request is
    // unknown.
    let result = unsafe { libc::ioctl(fd, UFFDIO_WRITEPROTECT as _, argument) };
    if result == 0 {
        return 0;
    }
    // SAFETY: __errno_location returns the calling thread's errno.
    unsafe { *libc::__errno_location() }
}
