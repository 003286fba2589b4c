// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a cache says of itself, in C.

use super::boundary::{shielded, status, status_of_callbacks};
use super::sized::{self, Sized_};
use super::{handle, kdreg_cache_t, kdreg_entry_t};
use crate::cache::{Cache, Statistics};
use crate::errno::Errno;
use crate::unwinding::{self, call_int};
use std::ffi::{c_char, c_int, c_void};
use std::fs::File;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::ops::ControlFlow;
use std::os::fd::FromRawFd;

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

/// kdreg_cache_info.flags: the backend has stopped working.
pub const KDREG_INFO_LOST: u32 = 1u32;
/// kdreg_cache_info.flags: changes in flight are not asked about: the monitor that the
/// cache was made on was opened with KDREG_OPEN_RELAXED, where that makes a difference.
pub const KDREG_INFO_RELAXED: u32 = 2u32;
/// kdreg_cache_info.flags: kdreg_cache_drain() was called.
pub const KDREG_INFO_DRAINING: u32 = 4u32;

/// What a cache is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kdreg_cache_info {
    /// sizeof(struct kdreg_cache_info), set by the caller.
    pub size: usize,
    /// KDREG_CAP_*: what its backend sees and promises.
    pub caps: u64,
    /// Its monitor's number, as `kdreg_info --pid` prints it; 0: it watches nothing.
    pub monitor: u64,
    /// KDREG_BACKEND_*.
    pub backend: u32,
    /// KDREG_INFO_*.
    pub flags: u32,
    /// Its name; empty: it has none.
    pub name: [c_char; 32],
}

// SAFETY: repr(C), integers, size first.
unsafe impl Sized_ for kdreg_cache_info {
    const FIRST: usize = 64;
}

/// Fills `*info`, whose `size` the caller has set.
///
/// Returns 0; -EINVAL; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_info(
    cache: *mut kdreg_cache_t,
    info: *mut kdreg_cache_info,
) -> c_int {
    status(|| {
        let cache = handle::resolve::<Cache>(cache)?;
        sized::fill(info, || {
            let mut name = [0; 32];
            for (place, byte) in name.iter_mut().zip(cache.name().bytes()) {
                *place = byte as c_char;
            }
            let lost = if cache.is_lost() { KDREG_INFO_LOST } else { 0 };
            let relaxed = if cache.is_relaxed() {
                KDREG_INFO_RELAXED
            } else {
                0
            };
            let draining = if cache.is_draining() {
                KDREG_INFO_DRAINING
            } else {
                0
            };
            Ok(kdreg_cache_info {
                size: 0,
                caps: cache.capabilities().bits(),
                monitor: cache.monitor_number() as u64,
                backend: cache.kind() as u32,
                flags: lost | relaxed | draining,
                name,
            })
        })
    })
}

/// What the cache's backend sees and promises: KDREG_CAP_* bits; 0 when the handle is not
/// open.
#[unsafe(no_mangle)]
pub extern "C" fn kdreg_cache_caps(cache: *mut kdreg_cache_t) -> u64 {
    shielded(0, || {
        handle::resolve::<Cache>(cache).map_or(0, |cache| cache.capabilities().bits())
    })
}

/// Is handed an entry, which is held meanwhile; 0 has the next one follow.
pub type kdreg_each_fn =
    Option<unsafe extern "C" fn(arg: *mut c_void, entry: *mut kdreg_entry_t) -> c_int>;

/// Calls `fn` with `arg` and each entry that can be found, in no order, with no lock held.
/// `fn` may call the library, may kdreg_cache_hold() the entry to keep it, and need not
/// return, as kdreg_register_fn says. What comes or goes meanwhile may be among them or not.
///
/// Returns 0 when `fn` was called with all, else what it returned first that was not 0;
/// -EINVAL; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_each(
    cache: *mut kdreg_cache_t,
    r#fn: kdreg_each_fn,
    arg: *mut c_void,
) -> c_int {
    let mut answer = 0;
    let status = status_of_callbacks(|| {
        let cache = handle::resolve::<Cache>(cache)?;
        let function = r#fn.ok_or(Errno::EINVAL)?;
        cache.each(|held| {
            let arguments = [arg as usize, held.as_raw() as usize, 0, 0, 0];
            // SAFETY: the caller's function, called as its type says.
            match unsafe { call_int(function as *const c_void, arguments) } {
                Ok(0) => ControlFlow::Continue(()),
                Ok(other) => {
                    answer = other;
                    ControlFlow::Break(())
                }
                Err(escape) => {
                    unwinding::hold(escape);
                    ControlFlow::Break(())
                }
            }
        })
    });
    if status == 0 { answer } else { status }
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
