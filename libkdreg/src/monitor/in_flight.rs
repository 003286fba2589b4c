// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes that have let go of mmap_lock but are not yet known to userfaultfd's
//! handler: what a check asks, and what tells whether it asked the right file.

use crate::errno::Errno;
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

/// Whether `fd` is a userfaultfd, and the kernel answers. EINVAL is what other
/// descriptors may answer too; EFAULT and EAGAIN are not.
pub(crate) fn is_userfaultfd(fd: RawFd) -> bool {
    matches!(ask(fd, std::ptr::null()), libc::EFAULT | libc::EAGAIN)
}

/// What tells a descriptor's file from others: another userfaultfd, or any where
/// [`is_userfaultfd`] is not answered, since a filter of system calls may refuse
/// that. Since Linux 5.12 each userfaultfd has an inode of its own.
#[derive(Clone, Copy)]
pub(super) struct Identity(Option<(u64, u64)>);

/// Whose a descriptor is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whose {
    /// The library's userfaultfd, as far as can be told.
    Ours,
    /// It was closed; the number is nobody's, or somebody else's.
    Another,
}

impl Identity {
    pub fn of(fd: RawFd) -> Identity {
        Identity(stat(fd).ok())
    }

    /// Whether `fd` is still the userfaultfd that it was, and can be worked with.
    pub fn answers(self, fd: RawFd) -> bool {
        is_userfaultfd(fd) && self.whose(fd) == Whose::Ours
    }

    /// Whether `fd` is still the file that it was.
    pub fn whose(self, fd: RawFd) -> Whose {
        match stat(fd) {
            Err(error) if error.value() == libc::EBADF => Whose::Another,
            // Refused, too: an open userfaultfd that nobody reads would hold up
            // the application for ever.
            Err(_) => Whose::Ours,
            Ok(now) if self.0.is_none_or(|then| then == now) => Whose::Ours,
            Ok(_) => Whose::Another,
        }
    }
}

/// Device and inode.
fn stat(fd: RawFd) -> Result<(u64, u64), Errno> {
    // SAFETY: zero is a value of this plain structure.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: writes to a local variable.
    if unsafe { libc::fstat(fd, &raw mut stat) } != 0 {
        return Err(Errno::last());
    }
    Ok((stat.st_dev, stat.st_ino))
}

/// `struct uffdio_writeprotect`: start, length and mode.
type WriteProtect = [u64; 3];
const UFFDIO_WRITEPROTECT: libc::Ioctl = libc::_IOWR::<WriteProtect>(0xaa, 0x06);

/// An empty range.
static NOTHING: WriteProtect = [0; 3];

/// The errno that the request ends with; 0 if it should succeed.
#[inline]
fn ask(fd: RawFd, argument: *const WriteProtect) -> i32 {
    // SAFETY: the kernel reads the argument only, and refuses an empty range
    // or a null pointer. On a descriptor of another kind the request is
    // unknown.
    let result = unsafe { libc::ioctl(fd, UFFDIO_WRITEPROTECT, argument) };
    if result == 0 {
        return 0;
    }
    // SAFETY: __errno_location returns the calling thread's errno.
    unsafe { *libc::__errno_location() }
}

#[cfg(test)]
pub(super) mod tests;
