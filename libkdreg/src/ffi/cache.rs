// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cache in C.

use super::boundary::{
    count, count_of_callbacks, shielded, status, status_of_callbacks, status_of_lookup, writable,
};
use super::sized::{self, Sized_};
use super::{handle, kdreg_cache_t, kdreg_entry_t, kdreg_t};
use crate::cache::{Cache, Entry, Handle, Held, Options, Registrar, Statistics};
use crate::cancellation::held_off;
use crate::errno::Errno;
use crate::log::{self, Level};
use crate::memory;
use crate::monitor::{self, Monitor, Needs};
use crate::range::Range;
use crate::unwinding::{self, call_int};
use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd};

/// Access: the device may read the memory.
pub const KDREG_ACCESS_READ: u32 = 1u32;
/// Access: the device may write the memory.
pub const KDREG_ACCESS_WRITE: u32 = 2u32;
/// Access: peers may read the memory.
pub const KDREG_ACCESS_REMOTE_READ: u32 = 4u32;
/// Access: peers may write the memory.
pub const KDREG_ACCESS_REMOTE_WRITE: u32 = 8u32;
/// Access: peers may use atomic operations on the memory. Bits 16 to 31 are the caller's own.
pub const KDREG_ACCESS_REMOTE_ATOMIC: u32 = 16u32;

/// Access bits a caller may use.
const ACCESS: u32 = 0xffff_001f;

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
/// `*handle`. Returns 0 or a negative errno; -ENOMEM has the cache evict and ask
/// again. Called with no lock held; may call the library, but not destroy the
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
}

// SAFETY: repr(C), integers, pointers and nullable functions, size first.
unsafe impl Sized_ for kdreg_cache_attr {
    const FIRST: usize = 80;
}

/// What a cache did and holds. Counts begin at 0 when the cache is made.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kdreg_cache_stats {
    /// sizeof(struct kdreg_cache_stats), set by the caller.
    pub size: usize,
    /// Lookups that found a valid entry.
    pub hits: u64,
    /// Lookups by kdreg_cache_get() that had to register.
    pub misses: u64,
    /// Calls of `reg` that succeeded.
    pub registrations: u64,
    /// Calls of `reg` that failed, those tried again included.
    pub register_failures: u64,
    /// Calls of `dereg`.
    pub deregistrations: u64,
    /// Entries that a larger registration took the place of.
    pub merges: u64,
    /// Entries dropped to make room.
    pub evictions: u64,
    /// Entries dropped because their mapping changed, or on request.
    pub invalidations: u64,
    /// Registrations that were not kept: no room, or memory that cannot be watched.
    pub uncached: u64,
    /// Registrations that another thread turned out to have made at the same time.
    pub duplicates: u64,
    /// Entries cached now.
    pub entries: u64,
    /// Bytes cached now.
    pub bytes: u64,
    /// Entries in use now, cached or not.
    pub in_use: u64,
    /// Bytes dropped and idle, but not yet deregistered.
    pub unreleased_bytes: u64,
}

// SAFETY: repr(C), integers, size first.
unsafe impl Sized_ for kdreg_cache_stats {
    const FIRST: usize = 120;
}

impl From<Statistics> for kdreg_cache_stats {
    fn from(now: Statistics) -> kdreg_cache_stats {
        kdreg_cache_stats {
            size: 0,
            hits: now.hits,
            misses: now.misses,
            registrations: now.registrations,
            register_failures: now.register_failures,
            deregistrations: now.deregistrations,
            merges: now.merges,
            evictions: now.evictions,
            invalidations: now.invalidations,
            uncached: now.uncached,
            duplicates: now.duplicates,
            entries: now.entries,
            bytes: now.bytes,
            in_use: now.in_use,
            unreleased_bytes: now.unreleased_bytes,
        }
    }
}

/// The caller's callbacks.
struct Callbacks {
    register: unsafe extern "C" fn(*mut c_void, *mut c_void, usize, u32, *mut *mut c_void) -> c_int,
    deregister: unsafe extern "C" fn(*mut c_void, *mut c_void, usize, *mut c_void) -> c_int,
    ctx: *mut c_void,
}

// SAFETY: the caller of kdreg_cache_create is told that the callbacks are
// called, with their context, by any thread.
unsafe impl Send for Callbacks {}
// SAFETY: as above.
unsafe impl Sync for Callbacks {}

impl Registrar for Callbacks {
    fn needs(&self, access: u32) -> Needs {
        Needs::of_access(access)
    }

    fn register(&self, range: Range, access: u32) -> Result<Handle, Errno> {
        let mut handle: *mut c_void = std::ptr::null_mut();
        let arguments = [
            self.ctx as usize,
            range.start(),
            range.len(),
            access as usize,
            &raw mut handle as usize,
        ];
        // SAFETY: the caller's function, called as its type says.
        match unsafe { call_int(self.register as *const c_void, arguments) } {
            Ok(0) => Ok(Handle(handle as usize)),
            // A positive value is not what was agreed on, but an error surely.
            Ok(error) => Err(Errno::new(error.saturating_abs())),
            Err(escape) => {
                unwinding::hold(escape);
                Err(Errno::ESCAPED)
            }
        }
    }

    fn deregister(&self, range: Range, handle: Handle) {
        let arguments = [self.ctx as usize, range.start(), range.len(), handle.0, 0];
        // SAFETY: as above; the handle is one that `register` gave.
        match unsafe { call_int(self.deregister as *const c_void, arguments) } {
            Ok(0) => {}
            Ok(result) => {
                let error = Errno::new(result.saturating_abs());
                log::say(
                    Level::Warn,
                    format_args!(
                        "deregistering {range:?} failed, its memory may stay pinned: {error}"
                    ),
                );
            }
            Err(escape) => unwinding::hold(escape),
        }
    }
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
        let callbacks = Callbacks {
            register: attr.reg.ok_or(Errno::EINVAL)?,
            deregister: attr.dereg.ok_or(Errno::EINVAL)?,
            ctx: attr.ctx,
        };
        let options = Options {
            max_entries: attr.max_entries,
            max_bytes: attr.max_bytes,
            max_unreleased: attr.max_unreleased,
            alignment: attr.alignment,
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
/// one of the cache's own callbacks; -EINVAL for a null handle; -EBADF;
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

/// Fills `*stats`, whose `size` the caller has set.
///
/// Returns 0; -EINVAL; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_stats(
    cache: *mut kdreg_cache_t,
    stats: *mut kdreg_cache_stats,
) -> c_int {
    status(|| {
        let cache = handle::resolve::<Cache>(cache)?;
        sized::fill(stats, || Ok(cache.statistics()?.into()))
    })
}

/// Writes a table of the cache's limits, counts and entries to the file
/// descriptor `fd`.
///
/// Returns 0; -EBADF, also for a bad `fd`; what writing failed with; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_dump(cache: *mut kdreg_cache_t, fd: c_int) -> c_int {
    status(|| dump_to(handle::resolve::<Cache>(cache)?, fd))
}

/// Writes a cache's dump to a descriptor of the caller's.
pub(crate) fn dump_to(cache: &Cache, fd: c_int) -> Result<(), Errno> {
    // SAFETY: F_GETFD reads a flag; a bad number is an error.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(Errno::EBADF);
    }
    let mut out = Descriptor {
        fd,
        buffer: [0; 4096],
        filled: 0,
    };
    cache.dump(&mut out)?;
    out.flush()
        .map_err(|error| Errno::new(error.raw_os_error().unwrap_or(libc::EIO)))
}

/// A descriptor of the caller's, written to in large pieces, without a buffer
/// that there may be no memory for.
struct Descriptor {
    fd: c_int,
    buffer: [u8; 4096],
    filled: usize,
}

impl Write for Descriptor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.filled == self.buffer.len() {
            self.flush()?;
        }
        let taken = bytes.len().min(self.buffer.len() - self.filled);
        self.buffer[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        // SAFETY: an open descriptor, as `dump_to` checked; it stays the
        // caller's, which is what ManuallyDrop is for.
        let mut file = ManuallyDrop::new(unsafe { File::from_raw_fd(self.fd) });
        file.write_all(&self.buffer[..self.filled])?;
        self.filled = 0;
        Ok(())
    }
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
