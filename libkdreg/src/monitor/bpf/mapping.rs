// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that kdregd's maps are seen through.

use crate::errno::Errno;
use crate::range::page_size;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// How a mapping is used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Read,
    ReadAndWrite,
}

/// A shared mapping, unmapped when it is dropped. A forked child inherits what is
/// only read: a check in the child may look at it, as in the parent, before it
/// looks at the region's word, which the child finds wiped. It does not inherit
/// what is written.
pub(super) struct Mapping {
    base: NonNull<libc::c_void>,
    length: usize,
}

// SAFETY: what is in it is reached as atomics, and the mapping is the process's.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps whole pages that hold `length` bytes of `fd` from `offset` on.
    ///
    /// # Errors
    /// `EPROTO` when it is not that long, as far as can be told; what mmap(2)
    /// says.
    pub fn new(
        fd: BorrowedFd<'_>,
        offset: usize,
        length: usize,
        how: Use,
    ) -> Result<Mapping, Errno> {
        let length = length.next_multiple_of(page_size());
        // Maps are refused when they are shorter; files are not.
        if file_length(fd).is_some_and(|file| file < (offset + length) as u64) {
            return Err(Errno::new(libc::EPROTO));
        }
        let rights = match how {
            Use::Read => libc::PROT_READ,
            Use::ReadAndWrite => libc::PROT_READ | libc::PROT_WRITE,
        };
        // SAFETY: a new mapping affects no existing memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                rights,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        let base = match NonNull::new(base) {
            Some(base) if base.as_ptr() != libc::MAP_FAILED => base,
            _ => return Err(Errno::last()),
        };
        let mapping = Mapping { base, length };
        if how == Use::ReadAndWrite {
            // SAFETY: our own mapping.
            let failed = unsafe { libc::madvise(base.as_ptr(), length, libc::MADV_DONTFORK) } != 0;
            if failed {
                return Err(Errno::last());
            }
        }
        Ok(mapping)
    }

    /// What is at an offset.
    ///
    /// # Safety
    /// Of `T` any bytes are a value, and it consists of atomics, or of what nobody
    /// writes any more.
    ///
    /// # Panics
    /// When `count` of them are not inside, or not aligned.
    pub unsafe fn at<T>(&self, offset: usize, count: usize) -> &[T] {
        let end = count
            .checked_mul(size_of::<T>())
            .and_then(|l| l.checked_add(offset));
        assert!(end.is_some_and(|end| end <= self.length));
        assert!(offset % align_of::<T>() == 0);
        // SAFETY: inside the mapping, which is aligned to pages and lives as long
        // as the borrow; the caller vouches for the type.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().byte_add(offset).cast(), count) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and nothing in it is borrowed.
        unsafe { libc::munmap(self.base.as_ptr(), self.length) };
    }
}

/// The length of a file; `None` of what is none.
fn file_length(fd: BorrowedFd<'_>) -> Option<u64> {
    // SAFETY: zero is a value of this plain structure.
    let mut about: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: writes to a local variable.
    let failed = unsafe { libc::fstat(fd.as_raw_fd(), &raw mut about) } != 0;
    (!failed && about.st_mode & libc::S_IFMT == libc::S_IFREG).then(|| about.st_size.unsigned_abs())
}
