// SPDX-License-Identifier: MIT OR Apache-2.0
// Files, in reading order:
//   library  libibverbs, opened when it is needed
//   access   access rights
//   advice   what to say and do when registering fails
//   odp/     on-demand paging, which KDREG_VERBS_ODP asks for
//   ffi      the C face
//! A cache of verbs memory regions, bound to a protection domain.
//!
//! libibverbs is opened when the first cache is made; nothing links it. So a
//! program that does not use verbs needs none of it.
//!
//! ```no_run
//! use kdreg::adaptors::verbs::{LOCAL_WRITE, Options, VerbsCache, ibv_pd};
//! use kdreg::errno::Errno;
//! use kdreg::monitor::{self, Monitor};
//! use kdreg::range::Range;
//!
//! # fn pd() -> std::ptr::NonNull<ibv_pd> { std::ptr::NonNull::dangling() }
//! let monitor = Monitor::open(&monitor::Options::default())?;
//! // SAFETY: the domain is allocated until after the cache is dropped.
//! let cache = unsafe { VerbsCache::new(&monitor, pd(), Options::default())? };
//! let buffer = vec![0u8; 1 << 20];
//! let mr = cache.get(Range::new(buffer.as_ptr() as usize, buffer.len())?, LOCAL_WRITE)?;
//! println!("lkey {:#x}, rkey {:#x}", mr.lkey(), mr.rkey());
//! # Ok::<(), Errno>(())
//! ```

mod access;
mod advice;
#[cfg(feature = "capi")]
pub mod ffi;
mod library;
mod odp;

use crate::cache::{self, Cache, Handle, Held, Registrar};
use crate::cancellation::held_off;
use crate::environment;
use crate::errno::Errno;
use crate::log::{self, Level};
use crate::memory::try_box;
use crate::monitor::{Monitor, Needs};
use crate::range::Range;
use library::Library;
use std::ffi::{c_int, c_void};
use std::ops::Deref;
use std::ptr::NonNull;

pub use access::{
    FLUSH_GLOBAL, FLUSH_PERSISTENT, LOCAL_WRITE, MW_BIND, RELAXED_ORDERING, REMOTE_ATOMIC,
    REMOTE_READ, REMOTE_WRITE,
};
pub use library::{ibv_mr, ibv_pd};

/// How to make a [`VerbsCache`]. The default is right for most.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Limits and merging, as for any cache.
    pub cache: cache::Options,
    /// Flags of every registration: 0 or [`RELAXED_ORDERING`]. They are not
    /// rights, so no lookup can ask for them.
    pub access: u32,
}

/// Registers with one protection domain.
struct Domain {
    library: &'static Library,
    pd: NonNull<ibv_pd>,
    /// [`Options::access`].
    always: u32,
    /// `None`: everything is pinned.
    odp: Option<odp::Odp>,
}

// SAFETY: libibverbs lets any thread use a protection domain.
unsafe impl Send for Domain {}
// SAFETY: as above, at the same time too.
unsafe impl Sync for Domain {}

// A driver may wait, open and write as it likes: a thread that is cancelled
// leaves it first, and this code, which is not to be unwound.
impl Registrar for Domain {
    fn needs(&self, access: u32) -> Needs {
        Needs::of_access(access)
    }

    fn register(&self, range: Range, access: u32) -> Result<Handle, Errno> {
        let flags = access::of_verbs(access)? | self.always;
        let (addr, length) = (range.start(), range.len());
        let made = match &self.odp {
            None => odp::Verbs::register(self, addr, length, flags),
            Some(odp) => held_off(|| odp.register(self, addr, length, flags, true)),
        };
        match made {
            Ok(mr) => Ok(Handle(mr.as_ptr() as usize)),
            Err(error) => Err(Errno::new(error)),
        }
    }

    fn deregister(&self, _range: Range, handle: Handle) {
        let Some(mr) = NonNull::new(handle.0 as *mut c_void) else {
            return;
        };
        let over = self.odp.as_ref().map_or(Some(mr), |odp| odp.end(mr));
        if let Some(mr) = over {
            odp::Verbs::deregister(self, mr);
        }
    }

    fn emptied(&self, ended: bool) {
        if let Some(odp) = &self.odp {
            odp.release(self, ended);
        }
    }
}

impl odp::Verbs for Domain {
    fn register(&self, addr: usize, length: usize, flags: u32) -> Result<NonNull<c_void>, c_int> {
        let pd = self.pd.as_ptr();
        let start = addr as *mut c_void;
        // SAFETY: the maker of the cache keeps the domain allocated. The
        // range is the kernel's to check; it is pinned, not touched.
        held_off(|| unsafe {
            let mr = match self.library.reg_mr_iova2 {
                // Where it is there, ibv_reg_mr() is a call of it, by a name that
                // a preloaded library may have taken.
                Some(iova2) => iova2(pd, start, length, addr as u64, flags),
                None => {
                    (self.library.reg_mr)(pd, start, length, (flags & !access::OPTIONAL) as c_int)
                }
            };
            NonNull::new(mr.cast()).ok_or_else(|| Errno::last().value())
        })
    }

    fn deregister(&self, mr: NonNull<c_void>) {
        // SAFETY: a memory region from `register`, given back once.
        let error = held_off(|| unsafe { (self.library.dereg_mr)(mr.as_ptr().cast()) });
        if error != 0 {
            // SAFETY: not deregistered, so still libibverbs's structure.
            let (addr, length) = unsafe {
                let mr = &*mr.as_ptr().cast::<ibv_mr>();
                (mr.addr, mr.length)
            };
            log::say(
                Level::Warn,
                format_args!(
                    "verbs: ibv_dereg_mr of {length} bytes at {addr:?} failed, its memory may \
                     stay pinned: {:?}; release what is bound to the region (memory windows) \
                     before the cache goes",
                    Errno::new(error.saturating_abs())
                ),
            );
        }
    }
}

/// Whether verbs can be used here: libibverbs opens and lists a device.
///
/// # Errors
/// `ELIBACC` when libibverbs cannot be opened, `ENODEV` when it finds no
/// device; the log says what to do. `ENOMEM`.
pub fn probe() -> Result<(), Errno> {
    let library = Library::get()?;
    let mut count: c_int = 0;
    // SAFETY: room for the count; the list is given back below.
    let listed = held_off(|| unsafe {
        let list = (library.get_device_list)(&raw mut count);
        if list.is_null() {
            return Err(Errno::last());
        }
        (library.free_device_list)(list);
        Ok(())
    });
    if listed == Err(Errno::ENOMEM) {
        return Err(Errno::ENOMEM);
    }
    if count > 0 {
        return Ok(());
    }
    log::say(
        Level::Error,
        format_args!(
            "verbs: there is no RDMA device: load its driver and see ibv_devices; without \
             hardware, soft-RoCE makes one (modprobe rdma_rxe, then rdma link add rxe0 type rxe \
             netdev <interface>)"
        ),
    );
    Err(Errno::ENODEV)
}

/// A pin-down cache of memory regions of one protection domain.
///
/// With `KDREG_VERBS_ODP` they are on demand, and pin nothing, where the device
/// can: `docs/verbs.md`.
///
/// Everything that is not about memory regions ([`Cache::flush`],
/// [`Cache::statistics`] and so on) is the [`Cache`]'s, to which this derefs.
/// Thread-safe; in a forked child every call fails with `ECHILD`.
pub struct VerbsCache {
    cache: Cache,
}

impl VerbsCache {
    /// A cache of registrations with `pd`, on `monitor`'s backend.
    ///
    /// # Errors
    /// `ELIBACC` when libibverbs cannot be opened; `EINVAL` for bad options; `ENOMEM`;
    /// what [`Cache::new`] fails with.
    ///
    /// # Safety
    /// `pd` is from `ibv_alloc_pd` or the like of the libibverbs that the
    /// dynamic loader finds, and stays allocated until the cache is dropped.
    pub unsafe fn new(
        monitor: &Monitor,
        pd: NonNull<ibv_pd>,
        options: Options,
    ) -> Result<VerbsCache, Errno> {
        if options.access & !RELAXED_ORDERING != 0 {
            return Err(Errno::EINVAL);
        }
        let complain = |what: std::fmt::Arguments<'_>| {
            log::say(Level::Error, format_args!("verbs: {what}"));
        };
        let library = Library::get()?;
        // SAFETY: the caller's domain, which outlives the cache.
        let odp = held_off(|| unsafe {
            odp::Odp::of(pd.as_ptr().cast(), environment::variable, complain)
        });
        let domain = Domain {
            library,
            pd,
            always: options.access,
            odp,
        };
        Ok(VerbsCache {
            cache: Cache::new(monitor, options.cache, try_box(domain)?)?,
        })
    }

    /// A memory region that covers `range` with at least the rights in
    /// `access`: found, or registered now.
    ///
    /// # Errors
    /// `EINVAL` for flags that are no rights; what `ibv_reg_mr` fails with,
    /// which the log explains; what [`Cache::get`] fails with.
    #[inline]
    pub fn get(&self, range: Range, access: u32) -> Result<Mr<'_>, Errno> {
        get(&self.cache, range, access)
    }

    /// As [`VerbsCache::get`], but never registers: `ENOENT` when nothing
    /// covers it.
    #[inline]
    pub fn find(&self, range: Range, access: u32) -> Result<Mr<'_>, Errno> {
        find(&self.cache, range, access)
    }

    /// The cache alone, for the C face.
    #[cfg(feature = "capi")]
    fn into_cache(self) -> Cache {
        self.cache
    }
}

#[inline]
fn get(cache: &Cache, range: Range, access: u32) -> Result<Mr<'_>, Errno> {
    match access::cached(access).and_then(|bits| cache.get(range, bits)) {
        Ok(held) => Ok(Mr { held }),
        Err(error) => {
            advice::explain(error, range, access);
            Err(error)
        }
    }
}

#[inline]
fn find(cache: &Cache, range: Range, access: u32) -> Result<Mr<'_>, Errno> {
    let held = cache.find(range, access::cached(access)?)?;
    Ok(Mr { held })
}

impl Deref for VerbsCache {
    type Target = Cache;

    fn deref(&self) -> &Cache {
        &self.cache
    }
}

/// A memory region in use. Dropping it puts it back.
pub struct Mr<'a> {
    held: Held<'a>,
}

impl Mr<'_> {
    /// libibverbs's structure. It is shared: not to be changed, rebound or
    /// deregistered.
    pub fn as_ptr(&self) -> *mut ibv_mr {
        self.held.handle().0 as *mut ibv_mr
    }

    /// The key for local access to any part of [`Mr::range`].
    pub fn lkey(&self) -> u32 {
        // SAFETY: registered while it is held, and never written after.
        unsafe { (*self.as_ptr()).lkey }
    }

    /// The key for peers, who address the memory as this process does.
    pub fn rkey(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.as_ptr()).rkey }
    }

    /// What is registered: at least what was asked for.
    pub fn range(&self) -> Range {
        self.held.range()
    }

    /// Whether the memory is still what was registered.
    pub fn is_valid(&self) -> bool {
        self.held.is_valid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor;

    /// Whatever this machine has, the answer is one of those documented.
    #[test]
    fn a_machine_with_verbs_or_without_is_told_apart() {
        match probe() {
            Ok(()) | Err(Errno::ELIBACC | Errno::ENODEV) => {}
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_that_are_rights_are_not_the_caches() {
        let monitor = Monitor::open(&monitor::Options::default()).unwrap();
        let options = Options {
            access: LOCAL_WRITE,
            ..Options::default()
        };
        // SAFETY: refused before the domain is looked at.
        let cache = unsafe { VerbsCache::new(&monitor, NonNull::dangling(), options) };
        assert_eq!(cache.err(), Some(Errno::EINVAL));
    }
}
