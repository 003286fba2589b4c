// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the adaptor asks of the kernel: `io_uring_register` and its structures.

use crate::errno::Errno;
use crate::memory::try_vec;
use crate::range::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

const UNREGISTER_BUFFERS: u32 = 1;
const REGISTER_BUFFERS2: u32 = 15;
const REGISTER_BUFFERS_UPDATE: u32 = 16;

/// The most slots a table can have (IORING_MAX_REG_BUFFERS).
pub(super) const MOST_SLOTS: u32 = 1 << 14;
/// The most bytes one slot can hold.
pub(super) const LONGEST: usize = 1 << 30;

/// struct io_uring_rsrc_register.
#[repr(C)]
struct Table {
    nr: u32,
    flags: u32,
    reserved: u64,
    data: u64,
    tags: u64,
}

/// struct io_uring_rsrc_update2.
#[repr(C)]
struct Update {
    offset: u32,
    reserved: u32,
    data: u64,
    tags: u64,
    nr: u32,
    reserved2: u32,
}

/// An iovec that makes or leaves a slot empty.
const EMPTY: libc::iovec = libc::iovec {
    iov_base: std::ptr::null_mut(),
    iov_len: 0,
};

/// `count` of these.
fn empties(count: u32) -> Result<Vec<libc::iovec>, Errno> {
    let mut empties = try_vec(count as usize)?;
    empties.resize(count as usize, EMPTY);
    Ok(empties)
}

/// io_uring_register(2), by its number: no cancellation point; `argument` is what `opcode` takes.
///
/// # Safety
/// `argument` and what it points to are as the opcode wants them, for `count`.
unsafe fn register<T>(
    ring: BorrowedFd<'_>,
    opcode: u32,
    argument: *const T,
    count: u32,
) -> Result<u32, Errno> {
    loop {
        // SAFETY: the caller's promise; the kernel only reads the argument.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                ring.as_raw_fd(),
                opcode,
                argument,
                count,
            )
        };
        match u32::try_from(result) {
            Ok(value) => return Ok(value),
            Err(_) if Errno::last().value() == libc::EINTR => {}
            Err(_) => return Err(Errno::last()),
        }
    }
}

/// Gives the ring a table of `slots` empty slots. Empty iovecs and not the
/// sparse flag: that came with Linux 5.19, the table with 5.13.
pub(super) fn make_table(ring: BorrowedFd<'_>, slots: u32) -> Result<(), Errno> {
    let empty = empties(slots)?;
    let table = Table {
        nr: slots,
        flags: 0,
        reserved: 0,
        data: empty.as_ptr() as u64,
        tags: 0,
    };
    let size = size_of::<Table>() as u32;
    // SAFETY: `table` names `slots` iovecs, all alive during the call.
    unsafe { register(ring, REGISTER_BUFFERS2, &raw const table, size) }.map(drop)
}

/// Takes the ring's table away.
pub(super) fn end_table(ring: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: takes no argument.
    unsafe { register(ring, UNREGISTER_BUFFERS, std::ptr::null::<Table>(), 0) }.map(drop)
}

/// Replaces what is in `buffers.len()` slots from `first` on. What was there
/// stays pinned until the last request that uses it is done.
fn update(
    ring: BorrowedFd<'_>,
    first: u32,
    buffers: &[libc::iovec],
    tags: Option<&u64>,
) -> Result<(), Errno> {
    let update = Update {
        offset: first,
        reserved: 0,
        data: buffers.as_ptr() as u64,
        tags: tags.map_or(0, |tag| std::ptr::from_ref(tag) as u64),
        nr: buffers.len() as u32,
        reserved2: 0,
    };
    debug_assert!(tags.is_none() || buffers.len() == 1);
    let size = size_of::<Update>() as u32;
    // SAFETY: `update` names `nr` iovecs and no tags, or one of each, all
    // alive during the call.
    let done = unsafe { register(ring, REGISTER_BUFFERS_UPDATE, &raw const update, size) }?;
    // Fewer were updated than asked for: the first that failed ended it.
    if done == update.nr {
        Ok(())
    } else {
        Err(Errno::EIO)
    }
}

/// Pins `range` in a slot. With a tag other than 0 the ring gets a completion
/// with this user_data once it is unpinned.
pub(super) fn fill(ring: BorrowedFd<'_>, slot: u32, range: Range, tag: u64) -> Result<(), Errno> {
    let buffer = libc::iovec {
        iov_base: range.start() as *mut libc::c_void,
        iov_len: range.len(),
    };
    // One look at the caller's memory less for the kernel, where there is none.
    update(ring, slot, &[buffer], (tag != 0).then_some(&tag))
}

/// Empties `count` slots from `first` on.
pub(super) fn empty(ring: BorrowedFd<'_>, first: u32, count: u32) -> Result<(), Errno> {
    if count == 1 {
        return update(ring, first, &[EMPTY], None);
    }
    update(ring, first, &empties(count)?, None)
}
