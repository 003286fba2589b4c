// SPDX-License-Identifier: MIT OR Apache-2.0
//! The io_uring adaptor in C: `include/kdreg/uring.h` is generated from here.

#![allow(non_camel_case_types, reason = "these are the names C programs use")]

use super::{Buffers, Options, Place};
use crate::errno::Errno;
use crate::ffi::boundary::{count, count_of_lookup, shielded, status, status_of_lookup, writable};
use crate::ffi::cache::{dump_to, kdreg_cache_stats};
use crate::ffi::group::group_of;
use crate::ffi::handle::{self, Object};
use crate::ffi::sized::{self, Sized_};
use crate::ffi::{kdreg_group_t, kdreg_t};
use crate::monitor::{self, Monitor};
use crate::range::Range;
use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};

/// kdreg_uring_attr.flags: the slots are `slots` from `first` on of a buffer
/// table that the caller registered (io_uring_register_buffers_sparse() or the
/// like). What is in them is let go. Without this flag the table is the
/// adaptor's own, and the ring must not have one.
pub const KDREG_URING_WINDOW: u32 = 1u32;
/// kdreg_uring_attr.flags: register just what is asked for, widened to pages.
pub const KDREG_URING_NO_MERGE: u32 = 2u32;
/// kdreg_uring_attr.flags: no thread of the library's releases anything. Poll
/// kdreg_uring_fd() and call kdreg_uring_reap().
pub const KDREG_URING_NO_REAPER: u32 = 4u32;
/// kdreg_uring_attr.flags: while lookups only miss, register without keeping, all
/// but samples, down to one in 128: cheaper where no buffer is used twice. What is not kept is
/// deregistered at its last put, and kdreg_uring_valid() is false for it.
pub const KDREG_URING_BYPASS: u32 = 8u32;

/// The registered buffers of one ring.
///
/// Made by kdreg_uring_create(), ended by kdreg_uring_destroy(). May be used by
/// any number of threads, but not while another thread destroys it. On a ring
/// that was made with IORING_SETUP_SINGLE_ISSUER, create, get, flush, reap and
/// destroy belong to the submitting thread; what other threads or the reaper
/// release is unpinned at its next call. In a forked child every call returns
/// -ECHILD.
pub struct kdreg_uring(());

/// See `struct kdreg_uring`.
pub type kdreg_uring_t = kdreg_uring;

/// How to make a kdreg_uring_t. Zero everything but `size` for the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kdreg_uring_attr {
    /// sizeof(struct kdreg_uring_attr), set by the caller.
    pub size: usize,
    /// How many slots, so how many buffers can be registered at a time: up to
    /// 16,384; 0: 1,024.
    pub slots: u32,
    /// The first slot of the window; 0 without KDREG_URING_WINDOW.
    pub first: u32,
    /// The most bytes kept registered; 0: as many as can be pinned. What is
    /// idle is let go, the least recently used first, when this or
    /// RLIMIT_MEMLOCK is reached.
    pub max_bytes: usize,
    /// How many bytes may be left to the reaper to deregister; 0: everything is
    /// deregistered by the call that frees it.
    pub max_unreleased: usize,
    /// The largest registration that merging may make, in bytes; 0: 1 GiB,
    /// which is also the most.
    pub max_merge: usize,
    /// If not 0: the ring gets a completion with this user_data for each
    /// registration, when its memory is unpinned.
    pub tag: u64,
    /// KDREG_URING_* flags.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
    /// As in `struct kdreg_cache_attr`: a group whose limits the buffers share until they
    /// are destroyed. NULL: none.
    pub group: *mut kdreg_group_t,
}

// SAFETY: repr(C), integers and a pointer, size first.
unsafe impl Sized_ for kdreg_uring_attr {
    const FIRST: usize = 56;
}

// SAFETY: 5 is the io_uring adaptor's.
unsafe impl Object for Buffers {
    const TYPE: u8 = 5;
    type Opaque = kdreg_uring_t;
}

/// The options that `attr` (null: the defaults) stands for.
fn options(attr: *const kdreg_uring_attr) -> Result<Options, Errno> {
    let mut options = Options::default();
    if attr.is_null() {
        return Ok(options);
    }
    let attr = sized::read(attr)?;
    let known =
        KDREG_URING_WINDOW | KDREG_URING_NO_MERGE | KDREG_URING_NO_REAPER | KDREG_URING_BYPASS;
    let window = attr.flags & KDREG_URING_WINDOW != 0;
    if attr.flags & !known != 0 || attr.reserved != 0 || (attr.first != 0 && !window) {
        return Err(Errno::EINVAL);
    }
    if window {
        options.place = Place::Window {
            first: attr.first,
            count: attr.slots,
        };
    } else if attr.slots != 0 {
        options.place = Place::Table(attr.slots);
    }
    options.max_bytes = attr.max_bytes;
    options.max_unreleased = attr.max_unreleased;
    options.max_merge = attr.max_merge;
    options.tag = attr.tag;
    options.group = group_of(attr.group)?;
    options.no_merge = attr.flags & KDREG_URING_NO_MERGE != 0;
    options.no_reaper = attr.flags & KDREG_URING_NO_REAPER != 0;
    options.bypass = attr.flags & KDREG_URING_BYPASS != 0;
    Ok(options)
}

/// Makes registered buffers for the ring with descriptor `ring_fd` (liburing's
/// `ring_fd`, not the index that io_uring_register_ring_fd() gives), as `attr`
/// says (NULL: a table of 1,024 slots). `monitor` tells which backend to use
/// (NULL: the shared default) and may be closed afterwards. The library
/// duplicates the descriptor: the ring may be closed first, and then lives in the
/// kernel until kdreg_uring_destroy(). The library neither submits requests nor
/// takes completions. Needs Linux 5.13.
///
/// Returns 0 and the buffers in `*out`; and, with a warning in the log that says
/// what to do: -EBADF when `ring_fd` is not open; -EOPNOTSUPP when it is no ring;
/// -EBUSY when the ring has a buffer table and KDREG_URING_WINDOW is not set;
/// -EINVAL or -ENXIO for a window outside of that table; -EINVAL before Linux
/// 5.13, for a bad `attr`, or for slots beyond 16,384; -EEXIST from a thread that is not the ring's
/// only submitter; -EPERM, -EACCES or -ENOSYS where io_uring_register() is
/// refused; -ENOMEM; what kdreg_open() returns; -EMFILE; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_uring_create(
    monitor: *mut kdreg_t,
    ring_fd: c_int,
    attr: *const kdreg_uring_attr,
    out: *mut *mut kdreg_uring_t,
) -> c_int {
    status(|| {
        let out = writable(out)?;
        let options = options(attr)?;
        // Before a backend is opened, which may be given this very number.
        // SAFETY: F_GETFD reads a flag; a bad number is an error.
        if ring_fd < 0 || unsafe { libc::fcntl(ring_fd, libc::F_GETFD) } < 0 {
            return Err(super::not_open());
        }
        let default;
        let monitor = if monitor.is_null() {
            default = Monitor::open(&monitor::Options::default())?;
            &default
        } else {
            handle::resolve::<Monitor>(monitor)?
        };
        // SAFETY: not -1, and only lent for this call, in which the caller
        // keeps it open.
        let ring = unsafe { BorrowedFd::borrow_raw(ring_fd) };
        let uring = handle::open(Buffers::new(monitor, ring, &options)?)?;
        // SAFETY: checked above.
        unsafe { out.write(uring) };
        Ok(())
    })
}

/// Deregisters every buffer and ends the adaptor's table; a window is left
/// empty. No other thread may be using `uring`.
///
/// Returns 0; -EBUSY while an index is held, and nothing changes; -EDEADLK from a callback
/// of its group; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_uring_destroy(uring: *mut kdreg_uring_t) -> c_int {
    status(|| handle::close::<Buffers>(uring, Buffers::may_be_destroyed).map(drop))
}

/// The index of a registered buffer that covers `length` bytes at `addr`: found,
/// or registered now. It goes into the request's `buf_index`; the request's
/// address and length lie anywhere inside that range. The caller holds the
/// index, and so keeps the buffer registered and its slot as it is, until
/// kdreg_uring_put(). Each get needs a put, also when two gave the same index.
///
/// Returns the index; and, with a warning in the log (once for each errno, then
/// at level debug) that says what to do: -ENOBUFS when every slot is held;
/// -ENOMEM when no more memory can be pinned (RLIMIT_MEMLOCK) and nothing idle
/// is left to let go; -EMSGSIZE for more than 1 GiB; -EFAULT or -EOPNOTSUPP for
/// memory that io_uring cannot pin: unmapped, read-only, a file on disk;
/// -EEXIST from a thread that is not the ring's only submitter; -EINVAL for
/// length 0 or a range that wraps around or reaches into kernel addresses;
/// -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_uring_get(
    uring: *mut kdreg_uring_t,
    addr: *const c_void,
    length: usize,
) -> c_int {
    count_of_lookup(|| {
        let uring = handle::resolve::<Buffers>(uring)?;
        let index = uring.get_index(Range::new(addr as usize, length)?)?;
        Ok(index as usize)
    })
}

/// Puts back an index from kdreg_uring_get(), once the requests that used it
/// have completed. The last put of a buffer whose memory changed deregisters it,
/// and only then can its slot hold another one.
///
/// Returns 0; -EINVAL when it is not an index of `uring` or nobody holds it;
/// -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_uring_put(uring: *mut kdreg_uring_t, index: c_int) -> c_int {
    status_of_lookup(|| {
        let uring = handle::resolve::<Buffers>(uring)?;
        uring.put_index(u32::try_from(index).map_err(|_| Errno::EINVAL)?)
    })
}

/// Whether the memory of a held index is still what was registered. `false` also
/// when the backend cannot tell, and for an index that nobody holds.
#[unsafe(no_mangle)]
pub extern "C" fn kdreg_uring_valid(uring: *mut kdreg_uring_t, index: c_int) -> bool {
    shielded(false, || {
        let uring = handle::resolve::<Buffers>(uring);
        uring.is_ok_and(|uring| u32::try_from(index).is_ok_and(|i| uring.is_valid_index(i)))
    })
}

/// Drops every buffer that overlaps `length` bytes at `addr`, as if its mapping
/// had changed. Those that are held go at their last put.
///
/// Returns how many there were; -EINVAL; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_uring_invalidate(
    uring: *mut kdreg_uring_t,
    addr: *const c_void,
    length: usize,
) -> c_int {
    count(|| handle::resolve::<Buffers>(uring)?.invalidate(Range::new(addr as usize, length)?))
}

/// Drops every buffer. Those that are held go at their last put. Waits for what others are
/// deregistering, as kdreg_cache_flush() does.
///
/// Returns how many there were; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_uring_flush(uring: *mut kdreg_uring_t) -> c_int {
    count(|| handle::resolve::<Buffers>(uring)?.flush())
}

/// Drops the buffers whose mapping changed since, and deregisters everything
/// that waits for it. The reaper does the same by itself, unless
/// KDREG_URING_NO_REAPER is set or the ring has a single submitter.
///
/// Returns how many buffers were deregistered; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_uring_reap(uring: *mut kdreg_uring_t) -> c_int {
    count(|| handle::resolve::<Buffers>(uring)?.reap())
}

/// A descriptor that is readable (POLLIN) while there is something to reap. It
/// belongs to the library: never read or close it.
///
/// Returns the descriptor; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_uring_fd(uring: *mut kdreg_uring_t) -> c_int {
    count(|| {
        let uring = handle::resolve::<Buffers>(uring)?;
        Ok(uring.cache().event_fd().as_raw_fd() as usize)
    })
}

/// Fills `*stats`, whose `size` the caller has set, as kdreg_cache_stats() does.
///
/// Returns 0; -EINVAL; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_uring_stats(
    uring: *mut kdreg_uring_t,
    stats: *mut kdreg_cache_stats,
) -> c_int {
    status(|| {
        let uring = handle::resolve::<Buffers>(uring)?;
        sized::fill(stats, || Ok(uring.statistics()?.into()))
    })
}

/// Writes a table of the limits, counts and buffers to the file descriptor `fd`.
///
/// Returns 0; -EBADF, also for a bad `fd`; what writing failed with; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_uring_dump(uring: *mut kdreg_uring_t, fd: c_int) -> c_int {
    status(|| dump_to(handle::resolve::<Buffers>(uring)?.cache(), fd))
}
