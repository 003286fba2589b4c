// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entries in C: what is known of one that is held.

use super::boundary::{shielded, status_of_lookup};
use super::{handle, kdreg_cache_t, kdreg_entry_t};
use crate::cache::{Cache, Entry};
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

/// Whether what the entry maps is still what was registered. `false` also when
/// the backend cannot tell, as for an entry that is not cached, and for anything
/// that is not a held entry of this cache.
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
