// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mapped memory whose mapping tests change.

use kdreg::range::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

pub const PAGE: usize = 4096;

/// Anonymous memory at an address that the kernel gives to nobody who does not
/// ask for it, so that it can be unmapped and mapped again while other threads
/// map theirs; unmapped when dropped.
pub struct Memory {
    pub at: usize,
    pub length: usize,
}

/// The next address, far from where the kernel puts things.
static NEXT: AtomicUsize = AtomicUsize::new(1 << 36);

fn map(at: usize, length: usize, protection: i32) -> usize {
    // SAFETY: on top of memory of this test's own, or of nothing.
    let mapped = unsafe {
        libc::mmap(
            at as *mut libc::c_void,
            length,
            protection,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    assert_eq!(mapped as usize, at);
    at
}

fn next(length: usize) -> usize {
    NEXT.fetch_add(length + 16 * PAGE, Ordering::Relaxed)
}

impl Memory {
    pub fn new(length: usize) -> Memory {
        let at = map(next(length), length, libc::PROT_READ | libc::PROT_WRITE);
        Memory { at, length }
    }

    pub fn read_only(length: usize) -> Memory {
        let at = map(next(length), length, libc::PROT_READ);
        Memory { at, length }
    }

    /// Unmaps it and maps other memory at the same address.
    pub fn remap(&self) {
        self.unmap(0, self.length);
        self.replace();
    }

    fn unmap(&self, offset: usize, length: usize) {
        let at = (self.at + offset) as *mut libc::c_void;
        // SAFETY: memory of this test's own, to which there is no reference.
        assert_eq!(unsafe { libc::munmap(at, length) }, 0);
    }

    /// Puts other memory there page by page.
    pub fn replace_by_pages(&self) {
        for offset in (0..self.length).step_by(PAGE) {
            map(self.at + offset, PAGE, libc::PROT_READ | libc::PROT_WRITE);
        }
    }

    /// Gives the pages up; others come when they are touched.
    pub fn discard(&self) {
        let at = self.at as *mut libc::c_void;
        // SAFETY: as in `unmap`.
        assert_eq!(
            unsafe { libc::madvise(at, self.length, libc::MADV_DONTNEED) },
            0
        );
    }

    /// Puts other memory in its place, by one call.
    pub fn replace(&self) {
        map(self.at, self.length, libc::PROT_READ | libc::PROT_WRITE);
    }

    pub fn fill(&self, byte: u8) {
        // SAFETY: mapped and writable.
        unsafe { std::ptr::write_bytes(self.at as *mut u8, byte, self.length) };
    }

    pub fn byte(&self, offset: usize) -> u8 {
        // SAFETY: mapped and readable.
        unsafe { ((self.at + offset) as *const u8).read_volatile() }
    }

    pub fn range(&self) -> Range {
        Range::new(self.at, self.length).unwrap()
    }

    pub fn parts(&self) -> (usize, usize) {
        (self.at, self.length)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.unmap(0, self.length);
    }
}
