// SPDX-License-Identifier: MIT OR Apache-2.0
//! Getting entries in C, and putting them back.

use super::boundary::{status_of_lookup, writable};
use super::cache::ACCESS;
use super::{handle, kdreg_cache_t, kdreg_entry_t};
use crate::cache::{Cache, Entry, Held};
use crate::errno::Errno;
use crate::range::Range;
use std::ffi::{c_int, c_void};

/// Hands an entry to a C caller.
#[inline]
fn hand_out(
    cache: *mut kdreg_cache_t,
    addr: *const c_void,
    length: usize,
    access: u32,
    out: *mut *mut kdreg_entry_t,
    find: impl FnOnce(&'static Cache, Range) -> Result<Held<'static>, Errno>,
) -> c_int {
    status_of_lookup(|| {
        let cache = handle::resolve::<Cache>(cache)?;
        let out = writable(out)?;
        if access & !ACCESS != 0 {
            return Err(Errno::EINVAL);
        }
        let entry = find(cache, Range::new(addr as usize, length)?)?;
        // SAFETY: checked above.
        unsafe { out.write(entry.into_raw().cast_mut().cast()) };
        Ok(())
    })
}

/// An entry that covers `length` bytes at `addr` with at least the rights in
/// `access` (KDREG_ACCESS_*): found, or registered now. The caller holds it
/// until kdreg_cache_put().
///
/// Returns 0 and the entry in `*out`; what `reg` returned; -EFAULT when part of
/// the range is not mapped; -EINVAL for length 0, a range that wraps around or
/// reaches into kernel addresses, or unknown access bits; -ENOMEM; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_get(
    cache: *mut kdreg_cache_t,
    addr: *const c_void,
    length: usize,
    access: u32,
    out: *mut *mut kdreg_entry_t,
) -> c_int {
    hand_out(cache, addr, length, access, out, |cache, range| {
        cache.get(range, access)
    })
}

/// As kdreg_cache_get(), but never registers: -ENOENT when no valid entry covers
/// the range.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_find(
    cache: *mut kdreg_cache_t,
    addr: *const c_void,
    length: usize,
    access: u32,
    out: *mut *mut kdreg_entry_t,
) -> c_int {
    hand_out(cache, addr, length, access, out, |cache, range| {
        cache.find(range, access)
    })
}

/// Puts back an entry from kdreg_cache_get() or kdreg_cache_find(). The last put
/// of an entry that is not cached any more deregisters it.
///
/// Returns 0; -EINVAL when it is not an entry of this cache or nobody holds it;
/// -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_put(
    cache: *mut kdreg_cache_t,
    entry: *mut kdreg_entry_t,
) -> c_int {
    status_of_lookup(|| {
        handle::resolve::<Cache>(cache)?
            .inner()
            .put_checked(entry.cast_const().cast::<Entry>())
    })
}
