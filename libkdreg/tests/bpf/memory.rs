// SPDX-License-Identifier: MIT OR Apache-2.0
//! What takes a map's place: a file in memory.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicU64};

pub const PAGE: usize = 4096;

/// A file in memory, mapped.
pub struct Memory {
    fd: OwnedFd,
    base: *mut u8,
    length: usize,
}

// SAFETY: what is in it is reached as atomics.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    pub fn new(length: usize) -> Memory {
        let length = length.next_multiple_of(PAGE);
        // SAFETY: a C string; a new file; a new mapping of it.
        unsafe {
            let fd = libc::memfd_create(c"map".as_ptr(), libc::MFD_CLOEXEC);
            assert!(fd >= 0);
            let fd = OwnedFd::from_raw_fd(fd);
            File::from(fd.try_clone().unwrap())
                .set_len(length as u64)
                .unwrap();
            let rights = libc::PROT_READ | libc::PROT_WRITE;
            let base = libc::mmap(
                std::ptr::null_mut(),
                length,
                rights,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            );
            assert_ne!(base, libc::MAP_FAILED);
            Memory {
                fd,
                base: base.cast(),
                length,
            }
        }
    }

    pub fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset + 8 <= self.length && offset % 8 == 0);
        // SAFETY: inside the mapping, aligned, and any bytes are a value.
        unsafe { &*self.base.add(offset).cast() }
    }

    pub fn half(&self, offset: usize) -> &AtomicU32 {
        assert!(offset + 4 <= self.length && offset % 4 == 0);
        // SAFETY: as above.
        unsafe { &*self.base.add(offset).cast() }
    }
}

impl Memory {
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Shortens the file; what is mapped of it is not looked at any more.
    pub fn truncate(&self, length: u64) {
        File::from(self.fd.try_clone().unwrap())
            .set_len(length)
            .unwrap();
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: our own mapping.
        unsafe { libc::munmap(self.base.cast(), self.length) };
    }
}
