// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entries for a scatter list in C, and putting many back.

use super::access::ACCESS;
use super::boundary::{readable, status_of_lookup, writable};
use super::{handle, kdreg_cache_t, kdreg_entry_t};
use crate::cache::batch::Scattered;
use crate::cache::{Cache, Entry, Inner};
use crate::errno::Errno;
use crate::range::Range;
use libc::iovec;
use std::ffi::c_int;

/// A caller's list, whose ranges were looked at, and where its entries are to be.
struct List {
    ranges: *const iovec,
    entries: *mut *mut kdreg_entry_t,
    count: usize,
}

impl List {
    /// A list of which what is there can be: `EINVAL` for another, of which nothing was
    /// changed.
    fn new(
        ranges: *const iovec,
        count: usize,
        entries: *mut *mut kdreg_entry_t,
    ) -> Result<List, Errno> {
        let list = List {
            ranges: readable(ranges)?,
            entries: writable(entries)?,
            count,
        };
        if count > isize::MAX as usize / size_of::<iovec>() {
            return Err(Errno::EINVAL);
        }
        for place in 0..count {
            // SAFETY: the caller says that so many are there.
            let range = unsafe { &*list.ranges.add(place) };
            Range::new(range.iov_base as usize, range.iov_len)?;
        }
        Ok(list)
    }
}

impl Scattered for List {
    fn count(&self) -> usize {
        self.count
    }

    fn range(&self, place: usize) -> Range {
        debug_assert!(place < self.count);
        // SAFETY: within the caller's list.
        let range = unsafe { self.ranges.add(place).read() };
        // It was one when it was looked at: only a caller that changes its list
        // meanwhile, which it may not, gets an answer about another.
        Range::new(range.iov_base as usize, range.iov_len).unwrap_or(Range::between(0, 1))
    }

    fn entry(&self, place: usize) -> *const Entry {
        debug_assert!(place < self.count);
        // SAFETY: within the caller's list, of which each place was written.
        unsafe { self.entries.add(place).read().cast() }
    }

    fn set(&mut self, place: usize, entry: *const Entry) {
        debug_assert!(place < self.count);
        // SAFETY: within the caller's list.
        unsafe { self.entries.add(place).write(entry.cast_mut().cast()) };
    }
}

/// Hands out the first entries of a list, as many as the straight line of a hit
/// finds, which calls nothing, and so can neither panic nor be cancelled.
#[inline(always)]
fn get_found(
    cache: &Inner,
    (ranges, count): (*const iovec, usize),
    access: u32,
    out: *mut *mut kdreg_entry_t,
) -> usize {
    for place in 0..count {
        // No entry serves what is not a range, or has rights that there are not.
        // SAFETY: the caller says that so many are there; both are aligned.
        let range = unsafe { &*ranges.add(place) };
        match cache.hit(range.iov_base as usize, range.iov_len, access) {
            // SAFETY: as above.
            Some(entry) => unsafe {
                (out.add(place)).write(std::ptr::from_ref(entry).cast_mut().cast());
            },
            None => return place,
        }
    }
    count
}

/// As `kdreg_cache_getv`, of which the first `found` were found.
#[inline(never)]
fn get_rest(
    handle: *mut kdreg_cache_t,
    (ranges, count): (*const iovec, usize),
    access: u32,
    out: *mut *mut kdreg_entry_t,
    found: usize,
) -> c_int {
    status_of_lookup(|| {
        let cache = handle::resolve::<Cache>(handle)?.inner();
        let result = match access & !ACCESS {
            0 if count == 0 => return Ok(()),
            0 => List::new(ranges, count, out),
            _ => Err(Errno::EINVAL),
        };
        let mut list = match result {
            Ok(list) => list,
            Err(error) => {
                if found > 0 {
                    // They are entries, though others are no ranges.
                    cache.put_all(&mut List {
                        ranges,
                        entries: out,
                        count: found,
                    })?;
                }
                return Err(error);
            }
        };
        for place in found..count {
            list.set(place, std::ptr::null());
        }
        cache.get_all(&mut list, access)
    })
}

/// Entries for the `count` ranges of a scatter list, each with at least the rights in
/// `access`: found, or registered now, as by kdreg_cache_get() for one after the other. The
/// caller holds each, and puts it back with kdreg_cache_putv() or kdreg_cache_put(); an entry
/// that serves several ranges is held as often.
///
/// Returns 0 and the entries in `out[0]` to `out[count - 1]`, in the list's order; what
/// kdreg_cache_get() returns for one of them, and then none is held, and what is in `out` is
/// NULL or as it was, and what was registered until then is dropped again. -EINVAL also for a
/// list that is NULL, of more than 0 ranges.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_getv(
    cache: *mut kdreg_cache_t,
    iov: *const iovec,
    count: usize,
    access: u32,
    out: *mut *mut kdreg_entry_t,
) -> c_int {
    let good = !iov.is_null() && iov.is_aligned() && !out.is_null() && out.is_aligned();
    let found = match (good, handle::quick_cache(cache)) {
        (true, Some(object)) => get_found(object, (iov, count), access, out),
        _ => 0,
    };
    if good && found > 0 && found == count {
        return 0;
    }
    get_rest(cache, (iov, count), access, out, found)
}

/// Puts back `count` entries, as by kdreg_cache_put() for one after the other. NULLs are passed
/// over. All that can be put are put, whatever else is in the list, and when a `dereg` does not
/// return.
///
/// Returns 0; -EINVAL for a list that is NULL, of more than 0 entries, and when one of them
/// is not an entry of this cache or nobody holds it; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_putv(
    cache: *mut kdreg_cache_t,
    entries: *const *mut kdreg_entry_t,
    count: usize,
) -> c_int {
    let good = !entries.is_null() && entries.is_aligned();
    let put = match (good, handle::quick_cache(cache)) {
        (true, Some(object)) => put_found(object, entries, count),
        _ => 0,
    };
    if good && put > 0 && put == count {
        return 0;
    }
    put_rest(cache, entries, count, put)
}

/// Puts back the first entries of a list, as many as the calling thread owns; calls
/// nothing, and cannot panic.
#[inline(always)]
fn put_found(cache: &Inner, entries: *const *mut kdreg_entry_t, count: usize) -> usize {
    for place in 0..count {
        // SAFETY: the caller says that so many are there; aligned.
        let entry = unsafe { entries.add(place).read() };
        if !cache.put_quickly(entry.cast_const().cast()) {
            return place;
        }
    }
    count
}

/// As `kdreg_cache_putv`, of which the first `put` were put.
#[inline(never)]
fn put_rest(
    handle: *mut kdreg_cache_t,
    entries: *const *mut kdreg_entry_t,
    count: usize,
    put: usize,
) -> c_int {
    status_of_lookup(|| {
        let cache = handle::resolve::<Cache>(handle)?.inner();
        if count == 0 {
            return Ok(());
        }
        let entries = readable(entries)?;
        if count > isize::MAX as usize / size_of::<*mut kdreg_entry_t>() {
            return Err(Errno::EINVAL);
        }
        let mut result = Ok(());
        for place in put..count {
            // SAFETY: the caller says that so many are there.
            let entry = unsafe { entries.add(place).read() };
            if entry.is_null() {
                continue;
            }
            let put = cache.put_checked(entry.cast_const().cast::<Entry>());
            // A callback that did not return is what the call ends with.
            if put.is_err() && result != Err(Errno::ESCAPED) {
                result = put;
            }
        }
        result
    })
}
