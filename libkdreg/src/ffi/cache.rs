// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cache in C.

use super::boundary::{count, count_of_callbacks, status, status_of_callbacks, writable};
use super::callbacks::Callbacks;
use super::sized::{self, Sized_};
use super::{handle, kdreg_cache_t, kdreg_group_t, kdreg_t};
use crate::cache::{Cache, Name, Options};
use crate::cancellation::held_off;
use crate::errno::Errno;
use crate::memory;
use crate::monitor::{self, Monitor};
use crate::range::Range;
use std::ffi::{c_char, c_int, c_void};
use std::os::fd::AsRawFd;

pub use super::callbacks::*;
pub use super::drop::*;
pub use super::entry::*;
pub use super::group::*;
pub use super::lookup::*;
pub use super::scatter::*;
pub use super::show::*;

/// Access: the device may read the memory.
pub const KDREG_ACCESS_READ: u32 = 1u32;
/// Access: the device may write the memory.
pub const KDREG_ACCESS_WRITE: u32 = 2u32;
/// Access: peers may read the memory.
pub const KDREG_ACCESS_REMOTE_READ: u32 = 4u32;
/// Access: peers may write the memory.
pub const KDREG_ACCESS_REMOTE_WRITE: u32 = 8u32;
/// Access: peers may use atomic operations on the memory. Bits 16 to 31 are the caller's
/// own. An entry is found for what it has all bits of; what is registered in the place of
/// others has the bits of all of them, the caller's own as well: they are united by or.
/// No bits at all are found in whatever covers the range, and registered as no rights.
pub const KDREG_ACCESS_REMOTE_ATOMIC: u32 = 16u32;

/// Access bits a caller may use.
pub(super) const ACCESS: u32 = 0xffff_001f;

/// kdreg_cache_attr.flags: register just what is asked for, widened to the alignment.
pub const KDREG_CACHE_NO_MERGE: u32 = 1u32;
/// kdreg_cache_attr.flags: no thread of the library's releases anything;
/// callbacks run inside calls of the cache only. Poll kdreg_cache_fd() and call
/// kdreg_cache_reap().
pub const KDREG_CACHE_NO_REAPER: u32 = 2u32;
/// kdreg_cache_attr.flags: while lookups only miss, register without keeping, all
/// but samples, down to one in 128: cheaper where no buffer is used twice. What is not kept is
/// deregistered at its last put, and kdreg_entry_valid() is false for it.
pub const KDREG_CACHE_BYPASS: u32 = 4u32;

/// Registers `length` bytes at `addr` (widened and perhaps merged) for at least
/// the rights in `access`, and stores the caller's name for the registration in
/// `*handle`. Returns 0 or a negative errno; a positive number counts as the errno
/// of that number. -ENOMEM has the cache evict and ask again. Called with no lock held; may call the library, but not destroy the
/// cache. It need not return: a thread that ends in it (pthread_exit(),
/// pthread_cancel()) or a C++ exception that leaves it leaves the call of the library,
/// too, and nothing was registered.
pub type kdreg_register_fn = Option<
    unsafe extern "C" fn(
        ctx: *mut c_void,
        addr: *mut c_void,
        length: usize,
        access: u32,
        handle: *mut *mut c_void,
    ) -> c_int,
>;

/// Undoes a registration. Returns 0, or a negative errno, which is logged. Called
/// with no lock held, by whichever thread released the last use, or by the
/// library's reaper thread; may call the library, but not destroy the cache. It
/// need not return, as kdreg_register_fn says: the registration counts as undone,
/// and what else the call would have deregistered is left to the reaper or to the
/// next call. In the reaper, an exception ends there; when the thread ends, another
/// one follows. The reaper calls nothing once exit() has begun.
pub type kdreg_deregister_fn = Option<
    unsafe extern "C" fn(
        ctx: *mut c_void,
        addr: *mut c_void,
        length: usize,
        handle: *mut c_void,
    ) -> c_int,
>;

/// How to make a cache. Zero everything but `size`, `reg` and `dereg` for the
/// defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kdreg_cache_attr {
    /// sizeof(struct kdreg_cache_attr), set by the caller.
    pub size: usize,
    /// Registers memory.
    pub reg: kdreg_register_fn,
    /// Undoes a registration.
    pub dereg: kdreg_deregister_fn,
    /// The first argument of both.
    pub ctx: *mut c_void,
    /// The most entries kept; 0: 65,536. What does not fit, because everything
    /// else is in use, is registered uncached and released at its last put.
    pub max_entries: usize,
    /// The most bytes kept registered; 0: no limit.
    pub max_bytes: usize,
    /// How many bytes may be left to the reaper to deregister; 0: everything is
    /// deregistered by the call that frees it.
    pub max_unreleased: usize,
    /// Ranges are widened to multiples of this many bytes, a power of two not
    /// below the page size; 0: the page size. With userfaultfd the wide range is
    /// registered, and serves what was asked for of it: kdreg_backends(7).
    pub alignment: usize,
    /// The largest registration that merging may make, in bytes; 0: no limit.
    pub max_merge: usize,
    /// KDREG_CACHE_* flags.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
    /// Registers memory, and is told more than `reg`, which may be NULL then. Since 0.2,
    /// as all that follows.
    pub reg_with: kdreg_register_with_fn,
    /// Undoes a registration, and is told more than `dereg`, which may be NULL then.
    pub dereg_with: kdreg_deregister_with_fn,
    /// Bytes of the caller's in each entry, 4,016 at most: kdreg_entry_data().
    pub entry_size: usize,
    /// A name for dumps and `kdreg_info --pid`: up to 31 printable characters without
    /// blanks; copied. NULL: none.
    pub name: *const c_char,
    /// Is told of entries that are not to be found any more, and why. NULL: nobody is.
    pub event: kdreg_cache_event_fn,
    /// Describes an entry in dumps. NULL: nobody does.
    pub dump: kdreg_dump_fn,
    /// A group whose limits the cache shares until it is destroyed. NULL: none.
    pub group: *mut kdreg_group_t,
}

// SAFETY: repr(C), integers, pointers and nullable functions, size first.
unsafe impl Sized_ for kdreg_cache_attr {
    const FIRST: usize = 80;
}

/// The name of a cache.
fn name_of(name: *const c_char) -> Result<Name, Errno> {
    if name.is_null() {
        return Ok(Name::default());
    }
    // SAFETY: the caller says that a string is there; no further than its end, or what
    // a name can have, is read.
    let length = unsafe { libc::strnlen(name, Name::LONGEST + 1) };
    // SAFETY: so many bytes were just read.
    Name::new(unsafe { std::slice::from_raw_parts(name.cast::<u8>(), length) })
}

/// Makes a cache whose registrations are made by `attr->reg`. `monitor` tells
/// which backend to use (NULL: the shared default) and may be closed afterwards.
///
/// Returns 0 and the cache in `*out`; -EINVAL for a bad `attr`; what
/// kdreg_open() returns; -EMFILE; -ENOMEM; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_create(
    monitor: *mut kdreg_t,
    attr: *const kdreg_cache_attr,
    out: *mut *mut kdreg_cache_t,
) -> c_int {
    status(|| {
        let out = writable(out)?;
        let attr = sized::read(attr)?;
        if attr.flags & !(KDREG_CACHE_NO_MERGE | KDREG_CACHE_NO_REAPER | KDREG_CACHE_BYPASS) != 0
            || attr.reserved != 0
        {
            return Err(Errno::EINVAL);
        }
        let callbacks = Callbacks::of(&attr)?;
        let options = Options {
            max_entries: attr.max_entries,
            max_bytes: attr.max_bytes,
            max_unreleased: attr.max_unreleased,
            alignment: attr.alignment,
            entry_size: attr.entry_size,
            name: name_of(attr.name)?,
            group: group_of(attr.group)?,
            max_merge: attr.max_merge,
            no_merge: attr.flags & KDREG_CACHE_NO_MERGE != 0,
            no_reaper: attr.flags & KDREG_CACHE_NO_REAPER != 0,
            bypass: attr.flags & KDREG_CACHE_BYPASS != 0,
        };
        let default;
        let monitor = if monitor.is_null() {
            default = Monitor::open(&monitor::Options::default())?;
            &default
        } else {
            handle::resolve::<Monitor>(monitor)?
        };
        let cache = handle::open(Cache::new(monitor, options, memory::try_box(callbacks)?)?)?;
        // SAFETY: checked above.
        unsafe { out.write(cache) };
        Ok(())
    })
}

/// Ends a cache and deregisters everything it holds; no callback runs once this
/// has returned 0. No other thread may be using the cache. When `dereg` does not
/// return there still is a cache, of which everything was dropped: destroy it again.
///
/// Returns 0; -EBUSY while an entry is held, and nothing changes; -EDEADLK from
/// a callback of the cache or of its group; -EINVAL for a null handle; -EBADF;
/// -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_destroy(cache: *mut kdreg_cache_t) -> c_int {
    status_of_callbacks(|| {
        let object = handle::resolve::<Cache>(cache)?;
        object.may_be_destroyed()?;
        // While it still is one: what a callback that does not return leaves
        // undone is for the next who destroys it.
        object.empty()?;
        held_off(|| handle::close::<Cache>(cache, Cache::may_be_destroyed).map(drop))
    })
}

/// Drops every entry that overlaps `length` bytes at `addr`, as if its mapping
/// had changed. Entries in use are released at their last put. A registration
/// that another thread is being given this moment is that thread's alone, as
/// an uncached one is: once this has returned, nothing is found there that
/// began to be registered before it was called.
///
/// Returns how many entries there were; -EINVAL; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_invalidate(
    cache: *mut kdreg_cache_t,
    addr: *const c_void,
    length: usize,
) -> c_int {
    count_of_callbacks(|| {
        handle::resolve::<Cache>(cache)?.invalidate(Range::new(addr as usize, length)?)
    })
}

/// Drops every entry. Entries in use are released at their last put, and what
/// is being registered this moment is treated as by kdreg_cache_invalidate().
/// What the library's thread had begun to release has been deregistered when
/// this returns, unless it is called in a callback of the cache, or of its
/// group.
///
/// Returns how many entries there were; -EINVAL for a null handle; -EBADF;
/// -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_flush(cache: *mut kdreg_cache_t) -> c_int {
    count_of_callbacks(|| handle::resolve::<Cache>(cache)?.flush())
}

/// Drops the entries whose mapping changed since, and deregisters everything
/// that waits for it. The reaper does the same by itself, unless the cache was
/// made with KDREG_CACHE_NO_REAPER.
///
/// Returns how many entries were deregistered; -EINVAL for a null handle; -EBADF;
/// -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_reap(cache: *mut kdreg_cache_t) -> c_int {
    count_of_callbacks(|| handle::resolve::<Cache>(cache)?.reap())
}

/// A descriptor that is readable (POLLIN) while there is something to reap. It
/// belongs to the cache: never read or close it. It may be readable when
/// kdreg_cache_reap() finds nothing.
///
/// Returns the descriptor; -EINVAL for a null handle; -EBADF;
/// -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_fd(cache: *mut kdreg_cache_t) -> c_int {
    count(|| Ok(handle::resolve::<Cache>(cache)?.event_fd().as_raw_fd() as usize))
}
