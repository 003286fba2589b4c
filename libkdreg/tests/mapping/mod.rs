// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory for tests to monitor.

use kdreg::range::Range;

/// Where the kernel puts nothing unless it is asked to: what is unmapped there
/// stays unmapped, whatever threads the test harness starts meanwhile.
const NEAR: usize = 1 << 36;

/// Fresh anonymous memory, at an address that may have been used before.
pub fn map(length: usize) -> Range {
    // SAFETY: a new anonymous mapping affects no existing memory.
    let address = unsafe {
        libc::mmap(
            NEAR as *mut libc::c_void,
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(address, libc::MAP_FAILED);
    Range::new(address as usize, length).unwrap()
}

/// Gives it back.
pub fn unmap(range: Range) {
    // SAFETY: the test unmaps only what `map` returned.
    assert_eq!(
        unsafe { libc::munmap(range.start() as *mut libc::c_void, range.len()) },
        0
    );
}
