// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a cache is made: what C programs fill in, their callbacks among it.

use super::sized::Sized_;
use super::{kdreg_entry_t, kdreg_group_t};
use std::ffi::{c_char, c_int, c_void};

/// kdreg_registration.flags: more is asked for than the cache was asked for (merged with
/// neighbours, or widened); where this fails, less is asked for at once. So a failure
/// is no reason to say anything.
pub const KDREG_REGISTRATION_SPECULATIVE: u32 = 1u32;

/// What is to be registered, or undone. The library's; valid during the call only.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kdreg_registration {
    /// sizeof(struct kdreg_registration) in the library that runs: members beyond it are not
    /// there.
    pub size: usize,
    /// The first byte of the range.
    pub addr: *mut c_void,
    /// Its length in bytes.
    pub length: usize,
    /// The rights, KDREG_ACCESS_*.
    pub access: u32,
    /// KDREG_REGISTRATION_*.
    pub flags: u32,
    /// kdreg_get_attr.arg of the call that has it registered; NULL for other calls, and
    /// when it is undone.
    pub arg: *mut c_void,
    /// The caller's bytes in the entry, kdreg_cache_attr.entry_size of them, all zero when
    /// it is registered; NULL where that is 0.
    pub data: *mut c_void,
    /// The caller's name for the registration: NULL, for `reg_with` to fill in; for
    /// `dereg_with`, what that stored.
    pub handle: *mut c_void,
}

/// As kdreg_register_fn, in all that is said there; stores the caller's name for the
/// registration in `registration->handle`.
pub type kdreg_register_with_fn =
    Option<unsafe extern "C" fn(ctx: *mut c_void, registration: *mut kdreg_registration) -> c_int>;

/// As kdreg_deregister_fn, in all that is said there.
pub type kdreg_deregister_with_fn = Option<
    unsafe extern "C" fn(ctx: *mut c_void, registration: *const kdreg_registration) -> c_int,
>;

/// kdreg_cache_event.cause: its mapping changed.
pub const KDREG_CAUSE_CHANGED: u32 = 1u32;
/// kdreg_cache_event.cause: kdreg_cache_invalidate().
pub const KDREG_CAUSE_INVALIDATED: u32 = 2u32;
/// kdreg_cache_event.cause: room was needed.
pub const KDREG_CAUSE_EVICTED: u32 = 3u32;
/// kdreg_cache_event.cause: a larger registration took its place.
pub const KDREG_CAUSE_MERGED: u32 = 4u32;
/// kdreg_cache_event.cause: kdreg_cache_flush(), or the end of the cache.
pub const KDREG_CAUSE_FLUSHED: u32 = 5u32;
/// kdreg_cache_event.cause: kdreg_cache_drop().
pub const KDREG_CAUSE_DROPPED: u32 = 6u32;
/// kdreg_cache_event.cause: the backend stopped working. Of the whole cache: nothing
/// is found any more, and what is registered is uncached. Said once, when the cache
/// hears of it.
pub const KDREG_CAUSE_LOST: u32 = 7u32;

/// An entry that lookups do not find any more. The library's; valid during the call only.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kdreg_cache_event {
    /// sizeof(struct kdreg_cache_event) in the library that runs.
    pub size: usize,
    /// What it registers; NULL with KDREG_CAUSE_LOST.
    pub addr: *mut c_void,
    /// Its length in bytes; 0 with KDREG_CAUSE_LOST.
    pub length: usize,
    /// Its rights.
    pub access: u32,
    /// KDREG_CAUSE_*.
    pub cause: u32,
    /// What the registering callback stored.
    pub handle: *mut c_void,
    /// The caller's bytes in it.
    pub data: *mut c_void,
}

/// Is told of an entry that lookups do not find any more: once, before it is
/// deregistered, by whichever thread found out, with no lock held. Others may still hold
/// it. May call the library, but not destroy the cache. It need not return, as
/// kdreg_register_fn says.
pub type kdreg_cache_event_fn =
    Option<unsafe extern "C" fn(ctx: *mut c_void, event: *const kdreg_cache_event)>;

/// Describes an entry in dumps: writes up to `size` bytes of text without line ends to
/// `text`, and returns how many there are. The entry is held meanwhile. Called with
/// no lock held.
pub type kdreg_dump_fn = Option<
    unsafe extern "C" fn(
        ctx: *mut c_void,
        entry: *const kdreg_entry_t,
        text: *mut c_char,
        size: usize,
    ) -> usize,
>;

/// kdreg_cache_attr.flags: register just what is asked for, widened to the alignment.
pub const KDREG_CACHE_NO_MERGE: u32 = 1u32;
/// kdreg_cache_attr.flags: no thread of the library's releases anything;
/// callbacks run inside calls of the cache only, unless kdreg_cache_try_get() or
/// kdreg_cache_prefetch() is called, which begin a thread. Poll kdreg_cache_fd() and call
/// kdreg_cache_reap().
pub const KDREG_CACHE_NO_REAPER: u32 = 2u32;
/// kdreg_cache_attr.flags: while lookups only miss, register without keeping, all
/// but samples, down to one in 128: cheaper where no buffer is used twice. What is not kept is
/// deregistered at its last put, and kdreg_entry_valid() is false for it.
pub const KDREG_CACHE_BYPASS: u32 = 4u32;

/// Registers `length` bytes at `addr` (widened and perhaps merged) for at least
/// the rights in `access`, and stores the caller's name for the registration in
/// `*handle`. Returns 0 or a negative errno; a positive number counts as the errno
/// of that number. -ENOMEM has the cache evict and ask again. Called with no lock held;
/// may call the library, but not destroy the cache. It need not return: a thread that ends
/// in it (pthread_exit(), pthread_cancel()) or a C++ exception that leaves it leaves the
/// call of the library, too, and nothing was registered.
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
