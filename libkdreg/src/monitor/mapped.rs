// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether memory is there at all.

use crate::errno::Errno;
use crate::range::{Range, page_size};

/// `EFAULT` when part of `range` is not mapped at the moment.
pub(super) fn check(range: Range) -> Result<(), Errno> {
    let pages = range.widened(page_size());
    // By its number: the C library's msync() is a cancellation point.
    // SAFETY: MS_ASYNC writes nothing: it walks the mappings, and stops with
    // ENOMEM at addresses that have none.
    let result =
        unsafe { libc::syscall(libc::SYS_msync, pages.start(), pages.len(), libc::MS_ASYNC) };
    if result == 0 {
        Ok(())
    } else {
        Err(Errno::EFAULT)
    }
}
