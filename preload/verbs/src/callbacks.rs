// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the caches call to register and deregister, pinned or on demand.

use crate::abi::{ibv_mr, ibv_pd};
use crate::domain::{Domain, Key};
use crate::odp::Verbs;
use crate::real::{self, Request};
use crate::registration::Registration;
use crate::{keep, kept, keys, report};
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

/// Registers a range that libkdreg has widened, on behalf of a cache.
pub unsafe extern "C" fn register(
    ctx: *mut c_void,
    addr: *mut c_void,
    length: usize,
    _access: u32,
    handle: *mut *mut c_void,
) -> c_int {
    // SAFETY: `ctx` is a domain that is never freed.
    let domain = unsafe { &*ctx.cast::<Domain>() };
    let (start, access) = (addr as usize, domain.key.access);
    let made = match &domain.odp {
        None => domain.key.register(start, length, access),
        Some(odp) => {
            // One for all addresses cannot be given up when something of it is
            // outstanding, so only what the card reads has that.
            let implicit = !keep::is_sole(access) && domain.key.distance == 0;
            odp.register(&domain.key, start, length, access, implicit)
        }
    };
    let mr: *mut ibv_mr = match made {
        Ok(mr) => mr.as_ptr().cast(),
        Err(error) => return -error,
    };
    let Some(registration) = Registration::new(mr) else {
        domain.give_up(mr);
        return -libc::ENOMEM;
    };
    if keep::is_sole(access) && !domain.remember(mr, registration, (start, length)) {
        // SAFETY: made above, and nobody knows it.
        domain.give_up(unsafe { Registration::end(registration) });
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
    // SAFETY: `ctx` is a domain that is never freed, `handle` from `register`;
    // libkdreg gives each back once.
    let (domain, registration) = unsafe { (&*ctx.cast::<Domain>(), &*handle.cast()) };
    let mr = Registration::take(registration);
    // SAFETY: libibverbs's, until it is given up.
    let key = unsafe { mr.as_ref() }.map(|mr| mr.lkey);
    let error = domain.give_up(mr);
    // After that: who posts the key meanwhile waits for it.
    if let Some(key) = key {
        domain.forget(key, registration);
    }
    // SAFETY: from `register`, and nobody knows it any more.
    unsafe { Registration::end(handle.cast()) };
    error
}

impl Verbs for Key {
    fn register(&self, addr: usize, length: usize, flags: u32) -> Result<NonNull<c_void>, c_int> {
        let request = Request {
            way: real::way_for(self.distance == 0, flags),
            pd: self.pd as *mut ibv_pd,
            addr: addr as *mut c_void,
            length,
            iova: (addr as u64).wrapping_add(self.distance),
            access: flags,
        };
        NonNull::new(request.make().cast()).ok_or_else(|| match report::errno() {
            0 => libc::EIO,
            error => error,
        })
    }

    fn deregister(&self, mr: NonNull<c_void>) {
        // SAFETY: registered, and nobody else's. What it fails with nobody asked.
        let _ = unsafe { real::dereg_mr(mr.as_ptr().cast()) };
    }
}

impl Domain {
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
        let context = self.context();
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
            Some(over) => -unsafe { real::dereg_mr(over.as_ptr().cast()) },
            None => 0,
        }
    }
}
