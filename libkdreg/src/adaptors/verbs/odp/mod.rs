// SPDX-License-Identifier: MIT OR Apache-2.0
// Files, in reading order:
//   settings  what the user says
//   device    what the device can, and prefetching
//   kept      registrations that are between two users
//! On-demand paging: registrations that pin nothing, of one protection domain.
//!
//! What the device reaches through such a registration is what the process has
//! at the address in that moment: the kernel takes a page out of the device's
//! translations before it is another's, and the device asks for it again. So a
//! registration survives each change of its memory; there is nothing stale to be
//! had from it. The cache above still drops its entry when the memory changed,
//! and asks for another: it gets the same registration, prefetched anew, so
//! that the next transfer does not fault. That is also where a range that cannot
//! be reached any more is told from one that can. (But what a peer may have a key to
//! ends with its entry: the key would go on reaching whatever comes to be there.)
//!
//! The code is `libkdreg-verbs.so`'s too, which has it compiled in: so it stands
//! on the standard library alone.

mod device;
mod kept;
mod settings;

use device::Device;
use kept::{Kept, Key};
use settings::{Mode, Settings};
use std::ffi::{CStr, c_int, c_void};
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// From how many bytes on `auto` has a registration on demand: eight of them are
/// what a process may pin where nobody said otherwise. docs/verbs.md has what either
/// way costs.
const LARGE: usize = 1 << 20;
/// How often `auto` has a range pinned that comes back: it is lost, to changes or
/// for want of room, more often than it is of use.
const LOST: u32 = 3;

/// `IBV_ACCESS_ON_DEMAND`.
const ON_DEMAND: u32 = 1 << 6;

/// What was done, by all domains. Relaxed: numbers for people.
pub static MADE: AtomicU64 = AtomicU64::new(0);
/// Registrations that were used again after their memory had changed.
pub static AGAIN: AtomicU64 = AtomicU64::new(0);
/// Prefetches that succeeded.
pub static PREFETCHED: AtomicU64 = AtomicU64::new(0);

fn count(what: &AtomicU64) {
    what.fetch_add(1, Ordering::Relaxed);
}

/// libibverbs's `ibv_mr`, as its ABI has it.
#[repr(C)]
struct Region {
    _before: [*mut c_void; 4],
    _handle: u32,
    lkey: u32,
}

/// How registrations are made and ended. The errno of a failure.
pub trait Verbs {
    /// As `ibv_reg_mr`, at the addresses that the process has.
    fn register(&self, addr: usize, length: usize, flags: u32) -> Result<NonNull<c_void>, c_int>;
    /// As `ibv_dereg_mr`.
    fn deregister(&self, mr: NonNull<c_void>);
}

/// The registrations of one protection domain, pinned or on demand.
pub struct Odp {
    settings: Settings,
    device: Device,
    /// Protects what is kept. Leaf: nothing is called under it.
    kept: Mutex<Kept>,
}

// SAFETY: the domain in `device` is one that libibverbs lets any thread use.
unsafe impl Send for Odp {}
// SAFETY: as above, at the same time too.
unsafe impl Sync for Odp {}

impl Odp {
    /// Reads the variables (`get`, `complain`: [`Settings::read`]), and asks the
    /// device unless that is of no interest. `None`: everything is pinned.
    ///
    /// # Safety
    /// A protection domain of libibverbs, allocated while this is used.
    pub unsafe fn of<V: AsRef<str>>(
        pd: *mut c_void,
        get: impl Fn(&CStr) -> Option<V>,
        complain: impl Fn(fmt::Arguments<'_>),
    ) -> Option<Odp> {
        let settings = Settings::read(get, &complain);
        if settings.mode == Mode::Off {
            return None;
        }
        // SAFETY: the caller's promise.
        let device = unsafe { Device::of(pd) };
        // Linux's soft-RoCE (7.3 still, __rxe_odp_mr_copy) copies each packet from
        // and to the beginning of its page.
        if device.pages_only && !settings.pages_only {
            complain(format_args!(
                "soft-RoCE transfers wrong data on demand unless each packet is a page: \
                 KDREG_VERBS_ODP is off"
            ));
            return None;
        }
        Some(Odp {
            settings,
            device,
            kept: Mutex::new(Kept::new()?),
        })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A registration of the range with these flags (`IBV_ACCESS_*`), on demand or
    /// pinned. With `implicit`, it may be for all addresses, and others may have it.
    ///
    /// # Errors
    /// What registering it pinned failed with, as an errno.
    pub fn register(
        &self,
        verbs: &impl Verbs,
        addr: usize,
        length: usize,
        flags: u32,
        implicit: bool,
    ) -> Result<NonNull<c_void>, c_int> {
        let key = Key {
            addr,
            length,
            flags,
        };
        let can = self.device.can(&self.settings, flags);
        let first = can && self.prefers(&key);
        if first {
            if let Some(mr) = self.on_demand(verbs, key, implicit) {
                return Ok(mr);
            }
        }
        let make = |flags| match verbs.register(addr, length, flags) {
            // What waits counts, where a device has only so many.
            Err(libc::ENOMEM) if self.release(verbs, false) => verbs.register(addr, length, flags),
            result => result,
        };
        match make(flags) {
            Ok(mr) => {
                // Its address may have been another's.
                self.kept().forget(mr);
                Ok(mr)
            }
            // EPERM: where RLIMIT_MEMLOCK is 0, the kernel's word is that.
            Err(error @ (libc::ENOMEM | libc::EPERM)) if can && !first => {
                self.on_demand(verbs, key, implicit).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether it is to be on demand though it might be pinned.
    fn prefers(&self, key: &Key) -> bool {
        self.settings.mode == Mode::On || key.length >= LARGE || self.kept().comes_back(key) > LOST
    }

    /// `None` where the device refuses it, or finds that the range is not there: to
    /// pin it tells why.
    fn on_demand(&self, verbs: &impl Verbs, key: Key, implicit: bool) -> Option<NonNull<c_void>> {
        if implicit && self.device.can_be_implicit(key.flags) {
            if let Some(mr) = self.implicit(verbs, key.flags) {
                return self.prefetch(mr, &key).then_some(mr);
            }
        }
        let before = self.kept().take(&key);
        let mr = match before {
            Some(mr) => mr,
            None => verbs
                .register(key.addr, key.length, key.flags | ON_DEMAND)
                .ok()?,
        };
        if !self.prefetch(mr, &key) {
            self.kept().forget(mr);
            verbs.deregister(mr);
            return None;
        }
        count(if before.is_some() { &AGAIN } else { &MADE });
        self.kept().give_out(mr, key);
        Some(mr)
    }

    /// The registration of all addresses; made when it is first asked for.
    fn implicit(&self, verbs: &impl Verbs, flags: u32) -> Option<NonNull<c_void>> {
        if let Some(known) = self.kept().everything(flags) {
            return known;
        }
        let made = verbs.register(0, usize::MAX, flags | ON_DEMAND).ok();
        let (mr, spare) = self.kept().is_everything(flags, made);
        if let Some(spare) = spare {
            // Another thread was first, or there was no room to remember it.
            verbs.deregister(spare);
        } else if made.is_some() {
            count(&MADE);
        }
        mr
    }

    /// Whether the registration may be used: false when its range cannot be
    /// reached. What a device cannot prefetch, it faults on.
    fn prefetch(&self, mr: NonNull<c_void>, key: &Key) -> bool {
        if key.length > self.settings.prefetch {
            return true;
        }
        // SAFETY: libibverbs's, registered, and not written while it is.
        let lkey = unsafe { mr.cast::<Region>().as_ref().lkey };
        match self.device.prefetch(key.addr, key.length, lkey, key.flags) {
            Ok(()) => count(&PREFETCHED),
            Err(libc::EFAULT | libc::EPERM | libc::EACCES | libc::ENOENT) => return false,
            // Not now, or not by this device.
            Err(_) => {}
        }
        true
    }

    /// A registration from `register` whose range nobody uses any more: what is to
    /// be deregistered now, which may be another, or nothing. One that was
    /// deregistered otherwise need not come here: what is remembered of it is
    /// forgotten when there is another at its address.
    pub fn end(&self, mr: NonNull<c_void>) -> Option<NonNull<c_void>> {
        self.kept().end(mr)
    }

    /// Deregisters what nobody uses: between two users, and for all addresses with
    /// `everything`, when nobody has a registration from here any more.
    pub fn release(&self, verbs: &impl Verbs, everything: bool) -> bool {
        let mut any = false;
        loop {
            let next = self.kept().idle(everything);
            let Some(mr) = next else {
                return any;
            };
            verbs.deregister(mr);
            any = true;
        }
    }
}
