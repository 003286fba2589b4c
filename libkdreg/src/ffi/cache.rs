// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cache in C.

use super::boundary::{count, count_of_callbacks, status, status_of_callbacks, writable};
use super::callbacks::Callbacks;
use super::sized;
use super::{handle, kdreg_cache_t, kdreg_t};
use crate::cache::{Cache, Name, Options};
use crate::cancellation::held_off;
use crate::errno::Errno;
use crate::memory;
use crate::monitor::{self, Monitor};
use crate::range::Range;
use std::ffi::{c_char, c_int, c_void};
use std::os::fd::AsRawFd;

pub use super::access::*;
pub use super::ahead::*;
pub use super::cache_types::*;
pub use super::drop::*;
pub use super::entry::*;
pub use super::group::*;
pub use super::lookup::*;
pub use super::scatter::*;
pub use super::show::*;

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
/// What kdreg_cache_prefetch() or kdreg_cache_try_get() began it waits for, and what waits
/// for them is not done any more.
///
/// Returns 0; -EBUSY while an entry is held, or a `ready` of kdreg_cache_prefetch()
/// is to be called, and nothing changes; -EDEADLK from
/// a callback of the cache or of its group, or a function of the log's; -EINVAL for a
/// null handle; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_destroy(cache: *mut kdreg_cache_t) -> c_int {
    status_of_callbacks(|| {
        let object = handle::resolve::<Cache>(cache)?;
        object.may_be_destroyed()?;
        // While it still is one: what a callback that does not return leaves
        // undone is for the next who destroys it.
        object.empty()?;
        held_off(|| handle::close::<Cache>(cache, Cache::may_be_closed).map(drop))
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
/// What other threads had begun to deregister has been deregistered when this returns:
/// so what entries were registered in can go then, if nobody holds any, nor is inside
/// kdreg_cache_get() and its kin, kdreg_cache_put(), kdreg_cache_each() or
/// kdreg_cache_dump(). Called in a callback of any cache, or in a function of the log's, it
/// waits for nobody. What is being registered it does not wait for: kdreg_cache_drain() does.
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
