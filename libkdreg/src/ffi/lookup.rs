// SPDX-License-Identifier: MIT OR Apache-2.0
//! Getting entries in C, and putting them back.

use super::boundary::{status_of_lookup, writable};
use super::cache::ACCESS;
use super::sized::{self, Sized_};
use super::{handle, kdreg_cache_t, kdreg_entry_t};
use crate::cache::{Ask as Terms, Cache, Entry, Held, Inner};
use crate::errno::Errno;
use crate::range::Range;
use std::ffi::{c_int, c_void};

/// What there is for a call where the straight line of a hit finds nothing:
/// for the cache behind the handle or, where that is not known either, the handle.
/// The rest is as the caller gave it. By themselves, not together: so they stay
/// in registers.
struct Else {
    known: fn(&'static Inner, *const c_void, usize, u32, *mut *mut kdreg_entry_t) -> c_int,
    unknown: fn(*mut kdreg_cache_t, *const c_void, usize, u32, *mut *mut kdreg_entry_t) -> c_int,
}

/// Hands out what the straight line of a hit finds, which calls nothing, and so
/// can neither panic nor be cancelled. It finds nothing also where an argument is bad:
/// what comes else tells.
#[inline(always)]
fn hand_out(
    handle: *mut kdreg_cache_t,
    addr: *const c_void,
    length: usize,
    access: u32,
    out: *mut *mut kdreg_entry_t,
    or: Else,
) -> c_int {
    if !out.is_aligned() {
        return (or.unknown)(handle, addr, length, access, out);
    }
    let Some(cache) = handle::quick_cache(handle) else {
        return (or.unknown)(handle, addr, length, access, out);
    };
    if out.is_null() {
        return (or.known)(cache, addr, length, access, out);
    }
    // No entry serves what is not a range, or has rights that there are not.
    match cache.hit(addr as usize, length, access) {
        // SAFETY: checked above.
        Some(entry) => unsafe {
            out.write(std::ptr::from_ref(entry).cast_mut().cast());
            0
        },
        None => (or.known)(cache, addr, length, access, out),
    }
}

const GET: Else = Else {
    known: get_of,
    unknown: get_by,
};
const FIND: Else = Else {
    known: find_of,
    unknown: find_by,
};

/// How a cache is asked.
type Ask = fn(&'static Inner, Range, u32) -> Result<Held<'static>, Errno>;

/// Hands out what a cache answers.
#[inline]
fn hand_out_answer(
    cache: &'static Inner,
    addr: *const c_void,
    length: usize,
    access: u32,
    out: *mut *mut kdreg_entry_t,
    ask: Ask,
) -> Result<(), Errno> {
    let out = writable(out)?;
    if access & !ACCESS != 0 {
        return Err(Errno::EINVAL);
    }
    let entry = ask(cache, Range::new(addr as usize, length)?, access)?;
    // SAFETY: checked above.
    unsafe { out.write(entry.into_raw().cast_mut().cast()) };
    Ok(())
}

#[inline(never)]
fn get_of(
    cache: &'static Inner,
    addr: *const c_void,
    length: usize,
    access: u32,
    out: *mut *mut kdreg_entry_t,
) -> c_int {
    status_of_lookup(|| hand_out_answer(cache, addr, length, access, out, Inner::get))
}

#[inline(never)]
fn get_by(
    handle: *mut kdreg_cache_t,
    addr: *const c_void,
    length: usize,
    access: u32,
    out: *mut *mut kdreg_entry_t,
) -> c_int {
    status_of_lookup(|| {
        let cache = handle::resolve::<Cache>(handle)?.inner();
        hand_out_answer(cache, addr, length, access, out, Inner::get)
    })
}

#[inline(never)]
fn find_of(
    cache: &'static Inner,
    addr: *const c_void,
    length: usize,
    access: u32,
    out: *mut *mut kdreg_entry_t,
) -> c_int {
    status_of_lookup(|| hand_out_answer(cache, addr, length, access, out, Inner::find))
}

#[inline(never)]
fn find_by(
    handle: *mut kdreg_cache_t,
    addr: *const c_void,
    length: usize,
    access: u32,
    out: *mut *mut kdreg_entry_t,
) -> c_int {
    status_of_lookup(|| {
        let cache = handle::resolve::<Cache>(handle)?.inner();
        hand_out_answer(cache, addr, length, access, out, Inner::find)
    })
}

#[inline(never)]
fn put_by(handle: *mut kdreg_cache_t, entry: *mut kdreg_entry_t) -> c_int {
    status_of_lookup(|| {
        let cache = handle::resolve::<Cache>(handle)?.inner();
        cache.put_checked(entry.cast_const().cast::<Entry>())
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
    hand_out(cache, addr, length, access, out, GET)
}

/// kdreg_get_attr.flags: what is registered is not merged with others, neither now nor
/// later for others.
pub const KDREG_GET_NO_MERGE: u32 = 1u32;

/// What kdreg_cache_get_with() may say of the registration that it may have to make.
/// Zero everything but `size` and `access` for what kdreg_cache_get() does.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kdreg_get_attr {
    /// sizeof(struct kdreg_get_attr), set by the caller.
    pub size: usize,
    /// The rights, KDREG_ACCESS_*.
    pub access: u32,
    /// KDREG_GET_* flags.
    pub flags: u32,
    /// Reaches `reg_with` as kdreg_registration.arg: a kind of memory, a device, a
    /// descriptor. What is found is found whatever it was registered with.
    pub arg: *mut c_void,
    /// As kdreg_cache_attr.alignment, for this registration; 0: what that says.
    pub alignment: usize,
}

// SAFETY: repr(C), integers and pointers, size first.
unsafe impl Sized_ for kdreg_get_attr {
    const FIRST: usize = 32;
}

/// As kdreg_cache_get(), with more to say of what is registered when nothing is found.
///
/// Returns what kdreg_cache_get() does, and -EINVAL for a bad `attr`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_get_with(
    cache: *mut kdreg_cache_t,
    addr: *const c_void,
    length: usize,
    attr: *const kdreg_get_attr,
    out: *mut *mut kdreg_entry_t,
) -> c_int {
    status_of_lookup(|| {
        let cache = handle::resolve::<Cache>(cache)?;
        let out = writable(out)?;
        let attr = sized::read(attr)?;
        if attr.access & !ACCESS != 0 || attr.flags & !KDREG_GET_NO_MERGE != 0 {
            return Err(Errno::EINVAL);
        }
        let range = Range::new(addr as usize, length)?;
        let ask = Terms {
            arg: attr.arg as usize,
            alignment: attr.alignment,
            no_merge: attr.flags & KDREG_GET_NO_MERGE != 0,
        };
        let entry = cache.get_with(range, attr.access, ask)?;
        // SAFETY: checked above.
        unsafe { out.write(entry.into_raw().cast_mut().cast()) };
        Ok(())
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
    hand_out(cache, addr, length, access, out, FIND)
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
    match handle::quick_cache(cache) {
        Some(object) if object.put_quickly(entry.cast_const().cast()) => 0,
        _ => put_by(cache, entry),
    }
}
