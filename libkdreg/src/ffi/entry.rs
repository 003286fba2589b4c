// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entries in C: what is known of one that is held.

use super::boundary::{count, shielded, status_of_lookup};
use super::{handle, kdreg_cache_t, kdreg_entry_t};
use crate::cache::{Cache, Entry, Standing};
use crate::range::Range;
use std::ffi::{c_int, c_void};

/// Takes another reference on an entry that the caller holds, to be put back by a
/// kdreg_cache_put() of its own, in any thread. Looks nothing up and registers
/// nothing: it is the same registration, also when it has changed, or was
/// dropped, since. Does not fail while the entry is held.
///
/// Returns 0; -EINVAL when it is not an entry of this cache or nobody holds it;
/// -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_hold(
    cache: *mut kdreg_cache_t,
    entry: *mut kdreg_entry_t,
) -> c_int {
    status_of_lookup(|| {
        handle::resolve::<Cache>(cache)?
            .inner()
            .hold_checked(entry.cast_const().cast::<Entry>())
    })
}

/// Reads something from an entry that the caller holds.
#[inline]
fn of_held<T>(entry: *const kdreg_entry_t, otherwise: T, read: impl FnOnce(&Entry) -> T) -> T {
    let entry = entry.cast::<Entry>();
    if entry.is_null() || !entry.is_aligned() {
        return otherwise;
    }
    // SAFETY: the caller holds the entry, so its cache exists, and entries of
    // a cache are never unmapped.
    read(unsafe { &*entry })
}

/// The first address of what is registered: at or below what was asked for. The
/// caller holds the entry. NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn kdreg_entry_base(entry: *const kdreg_entry_t) -> *mut c_void {
    of_held(entry, std::ptr::null_mut(), |entry| {
        entry.range().start() as *mut c_void
    })
}

/// How many bytes are registered from kdreg_entry_base() on. The caller holds the
/// entry. 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn kdreg_entry_length(entry: *const kdreg_entry_t) -> usize {
    of_held(entry, 0, |entry| entry.range().len())
}

/// The rights it is registered with: at least what was asked for. The caller
/// holds the entry. 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn kdreg_entry_access(entry: *const kdreg_entry_t) -> u32 {
    of_held(entry, 0, Entry::access)
}

/// What `reg` stored in `*handle`. The caller holds the entry. NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn kdreg_entry_handle(entry: *const kdreg_entry_t) -> *mut c_void {
    of_held(entry, std::ptr::null_mut(), |entry| {
        entry.handle() as *mut c_void
    })
}

/// The caller's bytes in an entry, kdreg_cache_attr.entry_size of them: behind the line
/// of memory that a hit reads, so that neither a second allocation is needed nor a
/// pointer to be followed. All zero when it is registered; written by the callbacks and
/// by whoever holds the entry, who must agree on it among themselves; the entry's until it is deregistered. The
/// caller holds the entry. NULL for NULL, and where that size is 0.
#[unsafe(no_mangle)]
pub extern "C" fn kdreg_entry_data(entry: *const kdreg_entry_t) -> *mut c_void {
    of_held(entry, std::ptr::null_mut(), |entry| entry.data().cast())
}

/// kdreg_entry_check(): the backend cannot tell, or not of this part alone.
pub const KDREG_ENTRY_UNKNOWN: c_int = 0;
/// kdreg_entry_check(): the range maps what it did when it was registered.
pub const KDREG_ENTRY_UNCHANGED: c_int = 1;
/// kdreg_entry_check(): the mapping of part of the range changed since, or the caller
/// said so by kdreg_cache_invalidate().
pub const KDREG_ENTRY_CHANGED: c_int = 2;

/// What is known of `length` bytes at `addr`, which the entry covers and the
/// caller asked for: of these, whatever has happened to memory that was merged
/// with it or to the rest of the entry. A page that is copied at its first write,
/// after fork() or in the place of the zero page, is another page: that is a change,
/// and cannot be told from others where it was the registration that wrote. So write to
/// private memory before it is registered. May wait some milliseconds while changes are
/// in flight.
///
/// Returns KDREG_ENTRY_UNCHANGED, KDREG_ENTRY_CHANGED or KDREG_ENTRY_UNKNOWN;
/// -EINVAL when the entry is not a held one of this cache or does not cover the
/// range; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_entry_check(
    cache: *mut kdreg_cache_t,
    entry: *const kdreg_entry_t,
    addr: *const c_void,
    length: usize,
) -> c_int {
    count(|| {
        let cache = handle::resolve::<Cache>(cache)?;
        let range = Range::new(addr as usize, length)?;
        Ok(match cache.inner().standing(entry.cast(), range)? {
            Standing::Unknown => KDREG_ENTRY_UNKNOWN,
            Standing::Unchanged => KDREG_ENTRY_UNCHANGED,
            Standing::Changed => KDREG_ENTRY_CHANGED,
        } as usize)
    })
}

/// Whether all that the entry registers, what was merged with it included, still
/// maps what it did, and none of it was invalidated. `false` also when the backend
/// cannot tell, as for an entry that is not cached, and for anything that is not a
/// held entry of this cache. Of the caller's own range kdreg_entry_check() tells more.
#[unsafe(no_mangle)]
pub extern "C" fn kdreg_entry_valid(
    cache: *mut kdreg_cache_t,
    entry: *const kdreg_entry_t,
) -> bool {
    shielded(false, || {
        handle::resolve::<Cache>(cache)
            .is_ok_and(|cache| cache.inner().is_valid_entry(entry.cast::<Entry>()))
    })
}
