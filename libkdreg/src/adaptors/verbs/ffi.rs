// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verbs adaptor in C: `include/kdreg/verbs.h` is generated from here.

#![allow(non_camel_case_types, reason = "these are the names C programs use")]

use super::{Mr, Options, VerbsCache};
use crate::cache::{self, Cache};
use crate::errno::Errno;
use crate::ffi::boundary::{status, status_of_lookup, writable};
use crate::ffi::cache::{KDREG_CACHE_BYPASS, KDREG_CACHE_NO_MERGE, KDREG_CACHE_NO_REAPER};
use crate::ffi::group::group_of;
use crate::ffi::sized::{self, Sized_};
use crate::ffi::{handle, kdreg_cache_t, kdreg_entry_t, kdreg_group_t, kdreg_t};
use crate::monitor::{self, Monitor};
use crate::range::Range;
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// libibverbs's protection domain: `<infiniband/verbs.h>` has it.
pub struct ibv_pd(());

/// libibverbs's memory region: `<infiniband/verbs.h>` has it.
pub struct ibv_mr(());

/// How to make a cache of memory regions. Zero everything but `size` for the
/// defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kdreg_verbs_attr {
    /// sizeof(struct kdreg_verbs_attr), set by the caller.
    pub size: usize,
    /// Tells which backend to use, and may be closed afterwards; NULL: the
    /// shared default.
    pub monitor: *mut kdreg_t,
    /// The most entries kept; 0: 65,536. What does not fit, because everything
    /// else is in use, is registered uncached and released at its last put.
    pub max_entries: usize,
    /// The most bytes kept registered; 0: no limit.
    pub max_bytes: usize,
    /// How many bytes may be left to the reaper to deregister; 0: everything is
    /// deregistered by the call that frees it.
    pub max_unreleased: usize,
    /// Ranges are widened to multiples of this many bytes, a power of two not
    /// below the page size; 0: the page size.
    pub alignment: usize,
    /// The largest registration that merging may make, in bytes; 0: no limit.
    pub max_merge: usize,
    /// KDREG_CACHE_* flags.
    pub flags: u32,
    /// Flags of every registration that are no rights: 0, or
    /// IBV_ACCESS_RELAXED_ORDERING, which is left out where the kernel does not
    /// know it.
    pub access: u32,
    /// As in `struct kdreg_cache_attr`: a group whose limits the cache shares until it is
    /// destroyed. NULL: none.
    pub group: *mut kdreg_group_t,
}

// SAFETY: repr(C), integers and pointers, size first.
unsafe impl Sized_ for kdreg_verbs_attr {
    const FIRST: usize = 64;
}

/// Which handles of caches are of this adaptor: their identities, each in the
/// place that its low bits say. An identity is never used again, so that one
/// of a cache that was destroyed names nothing.
static OURS: [AtomicU64; 1 << 16] = [const { AtomicU64::new(0) }; 1 << 16];

fn place_of(identity: u64) -> &'static AtomicU64 {
    &OURS[usize::from(identity as u16)]
}

/// The cache behind a handle, which kdreg_verbs_cache_create() made: what
/// another cache keeps in its entries is no memory region.
#[inline]
fn resolve(cache: *mut kdreg_cache_t) -> Result<&'static Cache, Errno> {
    let object = handle::resolve::<Cache>(cache)?;
    let identity = handle::identity::<Cache>(cache)?;
    // Relaxed: the caller got the handle after this was written, by means that
    // order memory.
    if place_of(identity).load(Ordering::Relaxed) == identity {
        Ok(object)
    } else {
        Err(Errno::EINVAL)
    }
}

/// Whether verbs can be used here: libibverbs can be opened, and lists a device.
///
/// Returns 0; -ELIBACC when libibverbs.so.1 cannot be opened; -ENODEV when there
/// is no device; -ENOMEM. The log says what to do about it.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_verbs_probe() -> c_int {
    status(super::probe)
}

/// Makes a cache of memory regions of the protection domain `pd`; `attr` is NULL
/// for the defaults. The domain stays the caller's, and must not be deallocated
/// before kdreg_cache_destroy().
///
/// Entries come from kdreg_verbs_cache_get() and _find(). For the rest it is a
/// cache like any other: kdreg_cache_put(), _invalidate(), _flush(), _reap(),
/// _fd(), _stats(), _dump() and _destroy() work on it, and so do
/// kdreg_cache_get() and _find(), with KDREG_ACCESS_* rights; an entry's
/// kdreg_entry_handle() is its `struct ibv_mr`.
///
/// libibverbs is opened at the first call. Any thread may call.
///
/// Returns 0 and the cache in `*out`; -ENODEV when `pd` is NULL and there is no
/// device, -EINVAL when there is one; -EINVAL for a bad `attr`; -ELIBACC when
/// libibverbs.so.1 cannot be opened; what kdreg_open() returns; -EMFILE;
/// -ENOMEM; -EBADF; -ECHILD. The log says what to do about the library and
/// the device.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_verbs_cache_create(
    pd: *mut ibv_pd,
    attr: *const kdreg_verbs_attr,
    out: *mut *mut kdreg_cache_t,
) -> c_int {
    status(|| {
        let out = writable(out)?;
        let Some(pd) = NonNull::new(pd.cast::<super::ibv_pd>()) else {
            super::probe()?;
            return Err(Errno::EINVAL);
        };
        let (given, options) = options(attr)?;
        let default;
        let monitor = if given.is_null() {
            default = Monitor::open(&monitor::Options::default())?;
            &default
        } else {
            handle::resolve::<Monitor>(given)?
        };
        // SAFETY: the caller says that it is a protection domain, and that it
        // outlives the cache.
        let cache = unsafe { VerbsCache::new(monitor, pd, options) }?;
        let cache = handle::open(cache.into_cache())?;
        let identity = handle::identity::<Cache>(cache)?;
        place_of(identity).store(identity, Ordering::Relaxed);
        // SAFETY: checked above.
        unsafe { out.write(cache) };
        Ok(())
    })
}

/// What the caller's structure asks for.
fn options(attr: *const kdreg_verbs_attr) -> Result<(*mut kdreg_t, Options), Errno> {
    if attr.is_null() {
        return Ok((std::ptr::null_mut(), Options::default()));
    }
    let attr = sized::read(attr)?;
    if attr.flags & !(KDREG_CACHE_NO_MERGE | KDREG_CACHE_NO_REAPER | KDREG_CACHE_BYPASS) != 0 {
        return Err(Errno::EINVAL);
    }
    let options = Options {
        cache: cache::Options {
            entry_size: 0,
            name: cache::Name::default(),
            group: group_of(attr.group)?,
            max_entries: attr.max_entries,
            max_bytes: attr.max_bytes,
            max_unreleased: attr.max_unreleased,
            alignment: attr.alignment,
            max_merge: attr.max_merge,
            no_merge: attr.flags & KDREG_CACHE_NO_MERGE != 0,
            no_reaper: attr.flags & KDREG_CACHE_NO_REAPER != 0,
            bypass: attr.flags & KDREG_CACHE_BYPASS != 0,
        },
        access: attr.access,
    };
    Ok((attr.monitor, options))
}

/// Hands a memory region and its entry to a C caller.
#[inline]
fn hand_out(
    cache: *mut kdreg_cache_t,
    addr: *const c_void,
    length: usize,
    mr: *mut *mut ibv_mr,
    entry: *mut *mut kdreg_entry_t,
    find: impl FnOnce(&'static Cache, Range) -> Result<Mr<'static>, Errno>,
) -> c_int {
    status_of_lookup(|| {
        let cache = resolve(cache)?;
        let (mr, entry) = (writable(mr)?, writable(entry)?);
        let found = find(cache, Range::new(addr as usize, length)?)?;
        // SAFETY: both checked above.
        unsafe {
            mr.write(found.as_ptr().cast());
            entry.write(found.held.into_raw().cast_mut().cast());
        }
        Ok(())
    })
}

/// A memory region that covers `length` bytes at `addr` with at least the rights
/// in `access`: found, or registered now. `(*mr)->lkey` and `(*mr)->rkey` serve
/// for every address in it, as the process knows it. The caller holds the region
/// until it gives `*entry` to kdreg_cache_put(); the region is shared, and must
/// not be changed, rebound or deregistered.
///
/// `access` is made of IBV_ACCESS_LOCAL_WRITE, _REMOTE_WRITE, _REMOTE_READ,
/// _REMOTE_ATOMIC, _MW_BIND, _FLUSH_GLOBAL and _FLUSH_PERSISTENT. A region with
/// more rights than asked for is a hit; where rights are missing, the union is
/// registered. What is registered is at least whole pages, and neighbours may be
/// registered as one: KDREG_CACHE_NO_MERGE keeps peers who hold a key to the pages
/// that were asked for.
///
/// Where ibv_reg_mr() finds no memory, idle entries are released and it is tried
/// again. What fails in the end is explained in the log, each errno once.
///
/// Returns 0; what ibv_reg_mr() failed with: -ENOMEM when RLIMIT_MEMLOCK or the
/// device allows no more, -EFAULT when part of the range is not mapped, or mapped
/// read-only and IBV_ACCESS_LOCAL_WRITE asked for; -EINVAL for length 0, a range
/// that wraps around or reaches into kernel addresses, flags that are no rights
/// (zero-based and on-demand registrations are not to be cached), or a cache that
/// kdreg_verbs_cache_create() did not make; -EBADF; -ECHILD. `*mr` and `*entry` are
/// written only on success. Any thread may call.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_verbs_cache_get(
    cache: *mut kdreg_cache_t,
    addr: *const c_void,
    length: usize,
    access: c_int,
    mr: *mut *mut ibv_mr,
    entry: *mut *mut kdreg_entry_t,
) -> c_int {
    hand_out(cache, addr, length, mr, entry, |cache, range| {
        super::get(cache, range, access as u32)
    })
}

/// As kdreg_verbs_cache_get(), but never registers: -ENOENT when no valid region
/// covers the range.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_verbs_cache_find(
    cache: *mut kdreg_cache_t,
    addr: *const c_void,
    length: usize,
    access: c_int,
    mr: *mut *mut ibv_mr,
    entry: *mut *mut kdreg_entry_t,
) -> c_int {
    hand_out(cache, addr, length, mr, entry, |cache, range| {
        super::find(cache, range, access as u32)
    })
}
