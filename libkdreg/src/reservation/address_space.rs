// SPDX-License-Identifier: MIT OR Apache-2.0
//! Address space that is reserved and not locked.
//!
//! In a process that has called mlockall(MCL_FUTURE) whatever is mapped counts
//! as locked, what is inaccessible included, and against `RLIMIT_MEMLOCK`. What
//! is reserved here and hardly ever used is not to take that from the
//! application, nor to fail for it: it is unlocked at once, and where it does
//! not fit at once, a page of it is, which then grows.

use crate::errno::Errno;
use crate::log::{self, Level};
use crate::range::page_size;
use std::ptr::NonNull;

/// Reserves `length` bytes, whole pages, inaccessible and not locked.
pub(super) fn reserve(length: usize) -> Result<NonNull<libc::c_void>, Errno> {
    match map(length) {
        Ok(address) => {
            unlock(address, length);
            place(address)
        }
        // Locked memory, and more of it than there may be.
        Err(Errno::EAGAIN) => grown(length),
        Err(error) => Err(error),
    }
}

fn place(address: usize) -> Result<NonNull<libc::c_void>, Errno> {
    NonNull::new(address as *mut libc::c_void).ok_or(Errno::ENOMEM)
}

/// How address space is mapped that is not to be touched yet. Miri has readable
/// and writable memory alone, and no call that changes that.
const ACCESS: libc::c_int = if cfg!(miri) {
    libc::PROT_READ | libc::PROT_WRITE
} else {
    libc::PROT_NONE
};
const RESERVE: libc::c_int = if cfg!(miri) { 0 } else { libc::MAP_NORESERVE };

fn map(length: usize) -> Result<usize, Errno> {
    // SAFETY: a new private anonymous mapping at an address of the kernel's
    // choosing.
    let mapped = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            ACCESS,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | RESERVE,
            -1,
            0,
        )
    };
    if mapped == libc::MAP_FAILED {
        Err(Errno::last())
    } else {
        Ok(mapped as usize)
    }
}

fn unmap(address: usize, length: usize) {
    // SAFETY: our own mapping, and nobody else knows of it.
    unsafe { libc::munmap(address as *mut libc::c_void, length) };
}

fn unlock(address: usize, length: usize) {
    if cfg!(miri) {
        return;
    }
    // SAFETY: our own mapping, of which nothing is in memory.
    unsafe { libc::munlock(address as *const libc::c_void, length) };
}

/// As `reserve`, where `length` at once is more than may be locked. A mapping that
/// grows counts as locked if it is, whatever a new one would be (mremap(2): it is
/// for a locked one that EAGAIN is).
#[cold]
fn grown(length: usize) -> Result<NonNull<libc::c_void>, Errno> {
    let page = page_size();
    let first = match map(page) {
        Ok(first) => first,
        Err(Errno::EAGAIN) => {
            log::say(
                Level::Warn,
                format_args!(
                    "no address space: mlockall(MCL_FUTURE) locks what is mapped, and \
                     RLIMIT_MEMLOCK leaves no room even for a page"
                ),
            );
            return Err(Errno::ENOMEM);
        }
        Err(error) => return Err(error),
    };
    unlock(first, page);
    // SAFETY: our own mapping, of which nothing is in memory, to wherever there is
    // room.
    let mapped = unsafe {
        libc::mremap(
            first as *mut libc::c_void,
            page,
            length,
            libc::MREMAP_MAYMOVE,
        )
    };
    if mapped == libc::MAP_FAILED {
        let error = Errno::last();
        unmap(first, page);
        return Err(error);
    }
    place(mapped as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_grown_is_one_mapping() {
        let length = (5 << 20) + 3 * page_size();
        let address = grown(length).unwrap().as_ptr() as usize;
        // SAFETY: our own mapping.
        let usable = unsafe {
            libc::mprotect(
                address as *mut libc::c_void,
                length,
                libc::PROT_READ | libc::PROT_WRITE,
            )
        };
        assert_eq!(usable, 0);
        unmap(address, length);
    }
}
