// SPDX-License-Identifier: MIT OR Apache-2.0
//! The C face of the libfabric adaptor: `kdreg/fabric.h` is made of this.

#![allow(non_camel_case_types, reason = "these are the names C programs use")]

use super::library::{self, Library};
use super::{Import, Options};
use crate::errno::Errno;
use crate::ffi::boundary::{status, writable};
use crate::ffi::handle::{self, Object};
use crate::ffi::kdreg_t;
use crate::ffi::sized::{self, Sized_};
use crate::log::{self, Level};
use crate::monitor::Monitor;
use std::ffi::{CStr, c_char, c_int};

/// libkdreg, imported into libfabric as the monitor of its registration caches.
///
/// Made by kdreg_fabric_import(), ended by kdreg_fabric_release(). There is at most
/// one in a process. May be used by any number of threads, but not while another
/// thread releases it.
pub struct kdreg_fabric(());

/// See `struct kdreg_fabric`.
pub type kdreg_fabric_t = kdreg_fabric;

// SAFETY: 6 is the import's.
unsafe impl Object for Import {
    const TYPE: u8 = 6;
    type Opaque = kdreg_fabric_t;
}

/// kdreg_fabric_attr.flags: import although the environment variable
/// FI_MR_CACHE_MONITOR names one of libfabric's own monitors.
pub const KDREG_FABRIC_OVERRIDE: u32 = 1u32;

/// How to import. Zero everything but `size` for the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kdreg_fabric_attr {
    /// sizeof(struct kdreg_fabric_attr), set by the caller.
    pub size: usize,
    /// The monitor whose backend watches; NULL: the shared default, as
    /// kdreg_open() opens it. It may be closed afterwards.
    pub monitor: *mut kdreg_t,
    /// File name of libfabric; NULL: "libfabric.so.1", which is the one that the
    /// process has already, if it has one. Used during the call only.
    pub library: *const c_char,
    /// KDREG_FABRIC_* flags.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: repr(C), integers and pointers, size first.
unsafe impl Sized_ for kdreg_fabric_attr {
    const FIRST: usize = 32;
}

/// What an import did. Counts begin at 0 with the import.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kdreg_fabric_stats {
    /// sizeof(struct kdreg_fabric_stats), set by the caller.
    pub size: usize,
    /// How often libfabric has started the monitor. 0: no provider in this
    /// process has set up a registration cache (verbs does for each domain; tcp,
    /// udp, shm and sockets have none).
    pub starts: u64,
    /// Registrations that entered one of libfabric's caches.
    pub subscriptions: u64,
    /// Those among them whose memory cannot be watched: they are never valid.
    pub unwatched: u64,
    /// Lookups that found a registration, and were told that it is valid.
    pub hits: u64,
    /// Lookups that found a registration, and were told that it is stale: each
    /// would have been a transfer with the wrong memory.
    pub stale: u64,
    /// Ranges that libfabric was told to drop before it asked about them.
    pub notifications: u64,
    /// Ranges watched now.
    pub ranges: u64,
}

// SAFETY: repr(C), integers, size first.
unsafe impl Sized_ for kdreg_fabric_stats {
    const FIRST: usize = 64;
}

/// The caller's options, with libfabric open.
fn options(attr: &kdreg_fabric_attr) -> Result<Options<'static>, Errno> {
    if attr.flags & !KDREG_FABRIC_OVERRIDE != 0 || attr.reserved != 0 {
        return Err(Errno::EINVAL);
    }
    let monitor = match attr.monitor.is_null() {
        true => None,
        false => Some(handle::resolve::<Monitor>(attr.monitor)?),
    };
    let name = match attr.library.is_null() {
        true => library::SONAME,
        // SAFETY: the caller's C string, read during this call.
        false => unsafe { CStr::from_ptr(attr.library) },
    };
    Ok(Options {
        monitor,
        library: Library::open(name)?,
        override_environment: attr.flags & KDREG_FABRIC_OVERRIDE != 0,
    })
}

/// Makes libkdreg the monitor of libfabric's registration caches, of all
/// providers and domains of this process: a registration whose memory was
/// unmapped, moved or discarded is not found any more, and is released. Call it
/// once, after fi_getinfo() and before the first domain is opened; `attr` may
/// be NULL. Unmodified programs get the same from libkdreg-fabric.so, by
/// LD_PRELOAD.
///
/// libfabric is opened at run time, 1.13 or newer. What the backend does not see
/// (kdreg_caps()) stays unseen. When no backend works, every transfer registers
/// anew: correct, uncached.
///
/// Returns 0 and the import in `*out`; a failure is logged with what to do about
/// it, and leaves libfabric as it was. -EBUSY when another monitor was imported
/// before (Open MPI does so: run it with `--mca memory ^patcher`), or a domain
/// with a cache is open; -ECANCELED when the environment variable
/// FI_MR_CACHE_MONITOR names another monitor; -ELIBACC when libfabric cannot be
/// opened; -EPROTONOSUPPORT when it is older than 1.13; what kdreg_open()
/// returns; what libfabric returns; -EINVAL for a bad `attr`; -EMFILE; -ENOMEM;
/// -EBADF and -ECHILD for a bad `attr->monitor`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_fabric_import(
    attr: *const kdreg_fabric_attr,
    out: *mut *mut kdreg_fabric_t,
) -> c_int {
    status(|| {
        let out = writable(out)?;
        let attr = if attr.is_null() {
            kdreg_fabric_attr {
                size: size_of::<kdreg_fabric_attr>(),
                monitor: std::ptr::null_mut(),
                library: std::ptr::null(),
                flags: 0,
                reserved: 0,
            }
        } else {
            sized::read(attr)?
        };
        let import = handle::open(Import::new(options(&attr)?)?)?;
        // SAFETY: checked above.
        unsafe { out.write(import) };
        Ok(())
    })
}

/// Takes libkdreg out of libfabric. Close every domain before; no other thread
/// may be opening one. libfabric does not go back to its own monitor: domains
/// opened later have no registration cache. A program that ends need not call this.
///
/// Returns 0; -EBUSY while a domain with a cache is open, and nothing changes;
/// -EBADF; -ECHILD in a forked child.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_fabric_release(import: *mut kdreg_fabric_t) -> c_int {
    status(|| {
        let may_close = |import: &Import| {
            if !import.is_in_use() {
                return Ok(());
            }
            log::say(
                Level::Error,
                format_args!("libfabric is using libkdreg: close every domain before the release"),
            );
            Err(Errno::EBUSY)
        };
        handle::close::<Import>(import, may_close).map(drop)
    })
}

/// Fills `*stats`, whose `size` the caller has set.
///
/// Returns 0; -EINVAL; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_fabric_stats(
    import: *mut kdreg_fabric_t,
    stats: *mut kdreg_fabric_stats,
) -> c_int {
    status(|| {
        let import = handle::resolve::<Import>(import)?;
        sized::fill(stats, || {
            let now = import.statistics();
            Ok(kdreg_fabric_stats {
                size: 0,
                starts: now.starts,
                subscriptions: now.subscriptions,
                unwatched: now.unwatched,
                hits: now.hits,
                stale: now.stale,
                notifications: now.notifications,
                ranges: now.ranges,
            })
        })
    })
}
