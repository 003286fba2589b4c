// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the caches call to register and deregister, pinned or on demand.

use crate::abi::{ibv_context, ibv_mr, ibv_pd};
use crate::kdreg::kdreg_cache_t;
use crate::libibverbs::{self, Request};
use crate::odp::{Odp, Verbs};
use crate::registration::Registration;
use crate::{errno, kept, keys, lazy_dereg};
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering};

/// What registrations must agree in to be shared.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub pd: usize,
    pub access: u32,
    /// iova - addr, wrapping.
    pub distance: u64,
    /// How many others had registrations for the range that was asked for.
    pub user: u32,
}

/// Registers for one cache, whose callbacks' argument it is.
pub struct Registrar {
    pub key: Key,
    /// Of the device that its protection domain is of.
    pub context: usize,
    /// `None`: everything is pinned.
    pub odp: Option<Odp>,
    /// Set once, before anybody else has the cache. Relaxed: before the map of
    /// domains had it.
    pub cache: AtomicPtr<kdreg_cache_t>,
}

/// Registers a range that libkdreg has widened, on behalf of a cache.
pub unsafe extern "C" fn register(
    ctx: *mut c_void,
    addr: *mut c_void,
    length: usize,
    _access: u32,
    handle: *mut *mut c_void,
) -> c_int {
    // SAFETY: `ctx` is a domain's, which is never freed.
    let registrar = unsafe { &*ctx.cast::<Registrar>() };
    let (key, start) = (&registrar.key, addr as usize);
    let access = key.access;
    let made = match &registrar.odp {
        None => key.register(start, length, access),
        Some(odp) => {
            // One for all addresses cannot be given up when something of it is
            // outstanding, so only what the card reads has that.
            let implicit = !lazy_dereg::is_sole(access) && key.distance == 0;
            odp.register(key, start, length, access, implicit)
        }
    };
    let mr: *mut ibv_mr = match made {
        Ok(mr) => mr.as_ptr().cast(),
        Err(error) => return -error,
    };
    let Some(registration) = Registration::new(mr) else {
        registrar.give_up(mr);
        return -libc::ENOMEM;
    };
    if lazy_dereg::is_sole(access) && !registrar.remember(mr, registration, (start, length)) {
        // SAFETY: made above, and nobody knows it.
        registrar.give_up(unsafe { Registration::end(registration) });
        return -libc::ENOMEM;
    }
    // SAFETY: libkdreg gives room for the handle.
    unsafe { handle.write(registration.cast()) };
    0
}

pub unsafe extern "C" fn deregister(
    ctx: *mut c_void,
    _addr: *mut c_void,
    _length: usize,
    handle: *mut c_void,
) -> c_int {
    // SAFETY: `ctx` is a domain's, which is never freed, `handle` from `register`;
    // libkdreg gives each back once.
    let (registrar, registration) = unsafe { (&*ctx.cast::<Registrar>(), &*handle.cast()) };
    let mr = Registration::take(registration);
    // SAFETY: libibverbs's, until it is given up.
    let key = unsafe { mr.as_ref() }.map(|mr| mr.lkey);
    let error = registrar.give_up(mr);
    // After that: who posts the key meanwhile waits for it.
    if let Some(key) = key {
        registrar.forget(key, registration);
    }
    // SAFETY: from `register`, and nobody knows it any more.
    unsafe { Registration::end(handle.cast()) };
    error
}

impl Verbs for Key {
    fn register(&self, addr: usize, length: usize, flags: u32) -> Result<NonNull<c_void>, c_int> {
        let request = Request {
            way: libibverbs::way_for(self.distance == 0, flags),
            pd: self.pd as *mut ibv_pd,
            addr: addr as *mut c_void,
            length,
            iova: (addr as u64).wrapping_add(self.distance),
            access: flags,
        };
        NonNull::new(request.make().cast()).ok_or_else(|| match errno::errno() {
            0 => libc::EIO,
            error => error,
        })
    }

    fn deregister(&self, mr: NonNull<c_void>) {
        // SAFETY: registered, and nobody else's. What it fails with nobody asked.
        let _ = unsafe { libibverbs::dereg_mr(mr.as_ptr().cast()) };
    }
}

impl Registrar {
    /// The cache.
    pub fn cache(&self) -> *mut kdreg_cache_t {
        self.cache.load(Ordering::Relaxed)
    }

    /// Whoever posts the key of a registration that is one user's is to find it;
    /// `false` when there is no memory for that.
    fn remember(
        &self,
        mr: *mut ibv_mr,
        registration: *const Registration,
        range: (usize, usize),
    ) -> bool {
        // SAFETY: libibverbs's, just made.
        let (context, key) = unsafe { ((*mr).context, (*mr).lkey) };
        let Some(replaced) = kept::made(context, key, registration, self.cache(), range) else {
            return false;
        };
        let followed = replaced || keys::made(context, key);
        if !followed {
            kept::unmade(context, key, registration);
        }
        followed
    }

    /// The key is no cache's any more.
    pub fn forget(&self, key: u32, registration: *const Registration) {
        let context = self.context as *mut ibv_context;
        if kept::unmade(context, key, registration) {
            keys::unmade(context, key);
        }
    }

    /// Deregisters what the cache has no use for, unless it is kept; minus an errno.
    fn give_up(&self, mr: *mut ibv_mr) -> c_int {
        let Some(mr) = NonNull::new(mr.cast()) else {
            return 0;
        };
        match self.odp.as_ref().map_or(Some(mr), |odp| odp.end(mr)) {
            // SAFETY: registered, and nobody else's.
            Some(over) => -unsafe { libibverbs::dereg_mr(over.as_ptr().cast()) },
            None => 0,
        }
    }
}
