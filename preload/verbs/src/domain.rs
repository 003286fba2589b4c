// SPDX-License-Identifier: MIT OR Apache-2.0
//! The caches: one for each protection domain, set of access flags and
//! distance between a buffer and where peers see it. So registrations are
//! used again by equals only: whoever gets one could have made it. Where a
//! registration is one user's at a time (`lazy_dereg`), those who use the same memory
//! at the same time find theirs in caches of their own: the first user's, the
//! second's, and so on.

use crate::abi::{ibv_context, ibv_pd};
use crate::cancellation::held_off;
use crate::kdreg::*;
use crate::libibverbs::Request;
use crate::odp::Odp;
use crate::registrar::{self, Key, Registrar};
use crate::registration::Registration;
use crate::watch::{is_forked_child, monitor, text};
use crate::{environment, errno, lazy_dereg, log, memory, settings};
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

/// How many distances a protection domain may have caches for. Programs use
/// one or two (0, or where a shared heap begins); one that uses a new one for
/// each buffer gains nothing by a cache.
const MAX_DISTANCES: usize = 16;

/// How many users of one buffer at the same time have caches. UCX registers a
/// buffer once for each message that is under way, its benchmark has 32 of
/// them, and one for the buffer itself.
pub const USERS: u32 = 64;

/// A cache and what its callbacks need. A few bytes for each cache that ever was:
/// callbacks may be running in the reaper while a domain goes, and programs about
/// to ask.
pub struct Domain {
    /// The callbacks' argument.
    registrar: Registrar,
    /// The next of those that `take` took. Relaxed: whoever took them has them
    /// alone.
    next: AtomicPtr<Domain>,
}

/// Protects which caches there are; never held while libkdreg or libibverbs
/// is called, except to make a cache, which calls neither callback.
static DOMAINS: RwLock<Option<HashMap<Key, &'static Domain>>> = RwLock::new(None);

/// Protects the counts of caches that are gone.
static GONE: Mutex<kdreg_cache_stats> = Mutex::new(ZERO);

const ZERO: kdreg_cache_stats = kdreg_cache_stats {
    size: size_of::<kdreg_cache_stats>(),
    hits: 0,
    misses: 0,
    registrations: 0,
    register_failures: 0,
    deregistrations: 0,
    merges: 0,
    evictions: 0,
    invalidations: 0,
    uncached: 0,
    duplicates: 0,
    entries: 0,
    bytes: 0,
    in_use: 0,
    unreleased_bytes: 0,
};

impl Domain {
    /// The cache for a request when `user` others have the memory already;
    /// `None` when there is none to be had.
    pub fn of(request: &Request, user: u32) -> Option<&'static Domain> {
        let opened = monitor()?;
        let key = Key {
            pd: request.pd as usize,
            access: request.access,
            distance: request.iova.wrapping_sub(request.addr as u64),
            user,
        };
        let known = DOMAINS.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(&found) = known.as_ref().and_then(|all| all.get(&key)) {
            return Some(found);
        }
        drop(known);
        let mut all = DOMAINS.write().unwrap_or_else(PoisonError::into_inner);
        let all = all.get_or_insert_default();
        if let Some(&found) = all.get(&key) {
            return Some(found);
        }
        let distances = all
            .keys()
            .filter(|other| other.pd == key.pd && other.distance != 0 && other.user == 0);
        // Whoever comes second has a distance that is known.
        if key.distance != 0 && user == 0 && distances.count() >= MAX_DISTANCES {
            return None;
        }
        all.try_reserve(1).ok()?;
        let domain = Domain::make(opened.monitor, key, request.pd)?;
        all.insert(key, domain);
        Some(domain)
    }

    fn make(monitor: *mut kdreg_t, key: Key, pd: *mut ibv_pd) -> Option<&'static Domain> {
        // SAFETY: the program's protection domain, which its caches do not survive.
        // The device may wait and read.
        let odp = held_off(|| unsafe { Odp::of(pd.cast(), environment::text_of, log::bad_value) });
        let domain = Box::into_raw(memory::boxed(Domain {
            registrar: Registrar {
                key,
                // SAFETY: the program's protection domain, whose first member is public.
                context: unsafe { (*pd).context } as usize,
                odp,
                cache: AtomicPtr::new(std::ptr::null_mut()),
            },
            next: AtomicPtr::new(std::ptr::null_mut()),
        })?);
        // SAFETY: made above.
        let registrar = unsafe { &raw mut (*domain).registrar };
        let attr = kdreg_cache_attr {
            size: size_of::<kdreg_cache_attr>(),
            reg: Some(registrar::register),
            dereg: Some(registrar::deregister),
            ctx: registrar.cast(),
            max_entries: 0,
            max_bytes: settings::settings().max_bytes,
            max_unreleased: 0,
            alignment: 0,
            max_merge: 0,
            // Nobody gets a key to write what lies between two buffers, or more
            // than one of them.
            flags: if lazy_dereg::is_sole(key.access) {
                KDREG_CACHE_NO_MERGE
            } else {
                0
            },
            reserved: 0,
        };
        let mut cache = std::ptr::null_mut();
        // SAFETY: an open monitor, a complete structure, room for the result.
        let error = unsafe { kdreg_cache_create(monitor, &raw const attr, &raw mut cache) };
        if error != 0 {
            // SAFETY: made above, and no cache has it.
            drop(unsafe { Box::from_raw(domain) });
            // SAFETY: any error has a text.
            let why = text(unsafe { kdreg_strerror(error) });
            log::once(format_args!("a protection domain is not cached: {why}"));
            return None;
        }
        // SAFETY: made above, never freed from here on.
        let domain = unsafe { &*domain };
        domain.registrar.cache.store(cache, Ordering::Relaxed);
        Some(domain)
    }

    fn cache(&self) -> *mut kdreg_cache_t {
        self.registrar.cache()
    }

    /// An entry that covers the range, and the registration behind it.
    pub fn get(
        &self,
        addr: *mut c_void,
        length: usize,
    ) -> Option<(*mut kdreg_entry_t, &'static Registration)> {
        let mut entry = std::ptr::null_mut();
        // SAFETY: handles are checked by libkdreg; room for the result.
        let error = unsafe {
            kdreg_cache_get(
                self.cache(),
                addr,
                length,
                KDREG_ACCESS_READ,
                &raw mut entry,
            )
        };
        // SAFETY: held since this moment; the handle is what `register` gave, and
        // is used until the entry is put back at most.
        (error == 0).then(|| (entry, unsafe { &*kdreg_entry_handle(entry).cast() }))
    }

    pub fn put(&self, entry: *mut kdreg_entry_t) {
        // SAFETY: handles and entries are checked by libkdreg. When the cache
        // is gone with its protection domain, so is the registration.
        unsafe { kdreg_cache_put(self.cache(), entry) };
    }

    /// Puts back an entry whose registration was taken from it: nobody is to
    /// find it any more.
    pub fn put_empty(&self, entry: *mut kdreg_entry_t) {
        // SAFETY: handles are checked by libkdreg; the entry is held until the
        // last of the calls.
        unsafe {
            let (base, length) = (kdreg_entry_base(entry), kdreg_entry_length(entry));
            kdreg_cache_invalidate(self.cache(), base, length);
        }
        self.put(entry);
    }

    /// What its registrations may do.
    pub fn access(&self) -> u32 {
        self.registrar.key.access
    }

    /// The key is no cache's any more.
    pub fn forget(&self, key: u32, registration: *const Registration) {
        self.registrar.forget(key, registration);
    }

    /// iova - addr of its registrations.
    pub fn distance(&self) -> u64 {
        self.registrar.key.distance
    }

    /// Deregisters what is idle; when the domain is to go, with what is for all
    /// addresses, unless something of it is in use.
    fn flush(&self, going: bool) -> bool {
        // SAFETY: handles are checked by libkdreg.
        let any = unsafe { kdreg_cache_flush(self.cache()) > 0 };
        let Some(odp) = &self.registrar.odp else {
            return any;
        };
        let is_unused = |stats: kdreg_cache_stats| stats.in_use == 0 && stats.entries == 0;
        let unused = going && self.statistics().is_some_and(is_unused);
        odp.release(&self.registrar.key, unused) || any
    }

    /// What its cache did.
    fn statistics(&self) -> Option<kdreg_cache_stats> {
        let mut stats = ZERO;
        // SAFETY: handles are checked by libkdreg; the size is set.
        let error = unsafe { kdreg_cache_stats(self.cache(), &raw mut stats) };
        (error == 0).then_some(stats)
    }

    /// Ends the cache, and keeps its counts.
    fn end(&self) {
        if let Some(stats) = self.statistics() {
            add(
                &mut GONE.lock().unwrap_or_else(PoisonError::into_inner),
                &stats,
            );
        }
        // SAFETY: handles are checked. A cache with entries that the program never
        // gave back is not destroyed, and stays: nobody can find it any more.
        unsafe { kdreg_cache_destroy(self.cache()) };
    }
}

/// Caches out of use, each of which names the next: there may be no memory to
/// list them in.
#[derive(Clone, Copy)]
struct Taken(*mut Domain);

impl Iterator for Taken {
    type Item = &'static Domain;

    fn next(&mut self) -> Option<&'static Domain> {
        // SAFETY: null, or a domain, which is never freed.
        let domain = unsafe { self.0.as_ref() }?;
        self.0 = domain.next.load(Ordering::Relaxed);
        Some(domain)
    }
}

/// Takes caches out of use, so that their domains can go.
fn take(which: impl Fn(&Domain) -> bool) -> Taken {
    let mut taken = Taken(std::ptr::null_mut());
    let mut all = DOMAINS.write().unwrap_or_else(PoisonError::into_inner);
    let Some(all) = all.as_mut() else {
        return taken;
    };
    all.retain(|_, domain| {
        let domain: &Domain = domain;
        let stays = !which(domain);
        if !stays {
            domain.next.store(taken.0, Ordering::Relaxed);
            taken.0 = std::ptr::from_ref(domain).cast_mut();
        }
        stays
    });
    taken
}

/// Puts one back that was taken; without memory for that it ends.
fn put_back(domain: &'static Domain) {
    let put = {
        let mut all = DOMAINS.write().unwrap_or_else(PoisonError::into_inner);
        let all = all.get_or_insert_default();
        let room = all.try_reserve(1).is_ok();
        if room {
            all.entry(domain.registrar.key).or_insert(domain);
        }
        room
    };
    if !put {
        domain.end();
    }
}

/// Calls `remove`, which ends what the caches of `which` stand on, with nothing
/// idle left registered there. When it fails they are put back.
fn without(which: impl Fn(&Domain) -> bool, remove: impl FnOnce() -> c_int) -> c_int {
    if is_forked_child() {
        return remove();
    }
    let taken = take(which);
    for domain in taken {
        domain.flush(true);
    }
    let error = remove();
    let errno = errno::errno();
    if error == 0 {
        for domain in taken {
            domain.end();
        }
    } else {
        for domain in taken {
            put_back(domain);
        }
    }
    errno::set_errno(errno);
    error
}

/// As [`without`], for a protection domain.
pub fn without_pd(pd: *mut ibv_pd, remove: impl FnOnce() -> c_int) -> c_int {
    without(|domain| domain.registrar.key.pd == pd as usize, remove)
}

/// As [`without`], for a device.
pub fn without_context(context: *mut ibv_context, remove: impl FnOnce() -> c_int) -> c_int {
    without(
        |domain| domain.registrar.context == context as usize,
        remove,
    )
}

/// Deregisters what is idle, everywhere; whether there was anything.
pub fn flush() -> bool {
    let mut copy = Vec::new();
    {
        let all = DOMAINS.read().unwrap_or_else(PoisonError::into_inner);
        let domains = all.iter().flat_map(HashMap::values);
        // Not everywhere, where there is no memory to remember them all in.
        for &domain in domains {
            if copy.try_reserve(1).is_err() {
                break;
            }
            copy.push(domain);
        }
    }
    copy.iter()
        .fold(false, |any, domain| domain.flush(false) | any)
}

fn add(sum: &mut kdreg_cache_stats, more: &kdreg_cache_stats) {
    sum.hits += more.hits;
    sum.registrations += more.registrations;
    sum.merges += more.merges;
    sum.invalidations += more.invalidations;
    sum.evictions += more.evictions;
    sum.uncached += more.uncached;
}

/// What all caches did, those that are gone included.
pub fn statistics() -> kdreg_cache_stats {
    let mut sum = *GONE.lock().unwrap_or_else(PoisonError::into_inner);
    let all = DOMAINS.read().unwrap_or_else(PoisonError::into_inner);
    for domain in all.iter().flat_map(HashMap::values) {
        if let Some(stats) = domain.statistics() {
            add(&mut sum, &stats);
        }
    }
    sum
}
