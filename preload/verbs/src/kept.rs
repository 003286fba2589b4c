// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registrations of caches that are one user's at a time, by their keys. A
//! program that posts a key which it gave back would have had an error from the
//! card: so what stays registered by that key is deregistered first.

use crate::abi::{ibv_context, ibv_mr};
use crate::kdreg::{kdreg_cache_invalidate, kdreg_cache_t};
use crate::registration::Registration;
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A registration, and where its cache has it.
#[derive(Clone, Copy)]
struct Kept {
    registration: *const Registration,
    cache: *mut kdreg_cache_t,
    addr: usize,
    length: usize,
}

// SAFETY: a registration is there as long as it is in the table, under whose
// lock it is used; libkdreg checks the handle of a cache.
unsafe impl Send for Kept {}

/// By context and key. Protects which registrations are there. Taken under a
/// queue's `order`; libibverbs deregisters inside, which calls nobody here.
static KEPT: Mutex<Option<HashMap<(usize, u32), Kept>>> = Mutex::new(None);

/// A cache has made one; `None` when there is no memory to remember it in. Whether
/// it is in the place of another with this key, which is deregistered already,
/// and of which `unmade` will not be known.
pub fn made(
    context: *mut ibv_context,
    key: u32,
    registration: *const Registration,
    cache: *mut kdreg_cache_t,
    range: (usize, usize),
) -> Option<bool> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = kept.get_or_insert_default();
    kept.try_reserve(1).ok()?;
    let (addr, length) = range;
    let one = Kept {
        registration,
        cache,
        addr,
        length,
    };
    Some(kept.insert((context as usize, key), one).is_some())
}

/// It is no cache's any more; `false` if that was known. The key may be
/// another's by now, who stays.
pub fn unmade(context: *mut ibv_context, key: u32, registration: *const Registration) -> bool {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let name = (context as usize, key);
    kept.as_mut().is_some_and(|kept| {
        let known = kept
            .get(&name)
            .is_some_and(|found| found.registration == registration);
        known && kept.remove(&name).is_some()
    })
}

/// A program is about to post this key. If it has given it back, `deregister`
/// ends what stayed; whether it did.
pub fn revoke(
    context: *mut ibv_context,
    key: u32,
    deregister: impl Fn(*mut ibv_mr) -> c_int,
) -> bool {
    loop {
        match try_revoke(context, key, &deregister) {
            Some(revoked) => return revoked,
            // A cache is deregistering it, and says `unmade` next. Its thread may
            // need this processor, whichever of both is the more urgent.
            None => std::thread::sleep(Duration::from_micros(20)),
        }
    }
}

fn try_revoke(
    context: *mut ibv_context,
    key: u32,
    deregister: impl Fn(*mut ibv_mr) -> c_int,
) -> Option<bool> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let name = (context as usize, key);
    let Some(&found) = kept.as_ref().and_then(|kept| kept.get(&name)) else {
        return Some(false);
    };
    // SAFETY: in the table, so not ended: `unmade` comes before that.
    let registration = unsafe { &*found.registration };
    if !registration.hold() {
        // Somebody has it, by right.
        return Some(false);
    }
    let mr = registration.take();
    if mr.is_null() {
        registration.let_go();
        return None;
    }
    if deregister(mr) != 0 {
        registration.give(mr);
        registration.let_go();
        return Some(false);
    }
    kept.as_mut().and_then(|kept| kept.remove(&name));
    drop(kept);
    // What is left stays held, so nobody gets it, until the cache drops it.
    // SAFETY: handles are checked by libkdreg.
    unsafe { kdreg_cache_invalidate(found.cache, found.addr as *const c_void, found.length) };
    Some(true)
}
