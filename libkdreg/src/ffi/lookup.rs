// SPDX-License-Identifier: MIT OR Apache-2.0
//! Getting entries in C, and putting them back.

use super::access::ACCESS;
use super::boundary::{status_of_lookup, writable};
use super::sized::{self, Sized_};
use super::{handle, kdreg_cache_t, kdreg_entry_t};
use crate::cache::{Ask, Cache, Entry, Held, Inner};
use crate::errno::Errno;
use crate::range::Range;
use std::ffi::{c_int, c_void};

/// How a cache is asked where the straight line of a hit finds nothing. A type, and
/// not a value, so that what is called then is known where it is called.
trait Question {
    fn ask(cache: &'static Inner, range: Range, access: u32) -> Result<Held<'static>, Errno>;
}

/// [`Inner::get`].
enum Get {}
/// [`Inner::find`].
enum Find {}

impl Question for Get {
    fn ask(cache: &'static Inner, range: Range, access: u32) -> Result<Held<'static>, Errno> {
        cache.get(range, access)
    }
}

impl Question for Find {
    fn ask(cache: &'static Inner, range: Range, access: u32) -> Result<Held<'static>, Errno> {
        cache.find(range, access)
    }
}

/// Hands out what the straight line of a hit finds, which calls nothing, and so
/// can neither panic nor be cancelled. It finds nothing also where an argument is bad:
/// what comes else tells.
#[inline(always)]
fn hand_out<Q: Question>(
    handle: *mut kdreg_cache_t,
    addr: *const c_void,
    length: usize,
    access: u32,
    out: *mut *mut kdreg_entry_t,
) -> c_int {
    if !out.is_aligned() {
        return ask_by_handle::<Q>(handle, addr, length, access, out);
    }
    let Some(cache) = handle::quick_cache(handle) else {
        return ask_by_handle::<Q>(handle, addr, length, access, out);
    };
    if out.is_null() {
        return ask::<Q>(cache, addr, length, access, out);
    }
    // No entry serves what is not a range, or has rights that there are not.
    match cache.hit(addr as usize, length, access) {
        // SAFETY: checked above.
        Some(entry) => unsafe {
            out.write(std::ptr::from_ref(entry).cast_mut().cast());
            0
        },
        None => ask::<Q>(cache, addr, length, access, out),
    }
}

/// Hands out what a cache answers. Its arguments are the caller's, by themselves and
/// not together: so they stay in registers.
#[inline(never)]
fn ask<Q: Question>(
    cache: &'static Inner,
    addr: *const c_void,
    length: usize,
    access: u32,
    out: *mut *mut kdreg_entry_t,
) -> c_int {
    status_of_lookup(|| hand_out_answer::<Q>(cache, addr, length, access, out))
}

/// The same where the cache behind the handle is not known yet.
#[inline(never)]
fn ask_by_handle<Q: Question>(
    handle: *mut kdreg_cache_t,
    addr: *const c_void,
    length: usize,
    access: u32,
    out: *mut *mut kdreg_entry_t,
) -> c_int {
    status_of_lookup(|| {
        let cache = handle::resolve::<Cache>(handle)?.inner();
        hand_out_answer::<Q>(cache, addr, length, access, out)
    })
}

#[inline]
fn hand_out_answer<Q: Question>(
    cache: &'static Inner,
    addr: *const c_void,
    length: usize,
    access: u32,
    out: *mut *mut kdreg_entry_t,
) -> Result<(), Errno> {
    let out = writable(out)?;
    if access & !ACCESS != 0 {
        return Err(Errno::EINVAL);
    }
    let entry = Q::ask(cache, Range::new(addr as usize, length)?, access)?;
    // SAFETY: checked above.
    unsafe { out.write(entry.into_raw().cast_mut().cast()) };
    Ok(())
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
    hand_out::<Get>(cache, addr, length, access, out)
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

/// The rights, and what more is said of a registration.
#[inline]
pub(super) fn ask_of(attr: *const kdreg_get_attr) -> Result<(u32, Ask), Errno> {
    let attr = sized::read(attr)?;
    if attr.access & !ACCESS != 0 || attr.flags & !KDREG_GET_NO_MERGE != 0 {
        return Err(Errno::EINVAL);
    }
    let ask = Ask {
        arg: attr.arg as usize,
        alignment: attr.alignment,
        no_merge: attr.flags & KDREG_GET_NO_MERGE != 0,
    };
    Ok((attr.access, ask))
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
        let (access, ask) = ask_of(attr)?;
        let entry = cache.get_with(Range::new(addr as usize, length)?, access, ask)?;
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
    hand_out::<Find>(cache, addr, length, access, out)
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
