// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a registration comes from, and what becomes of it: from a cache, or
//! from libibverbs as the program asked for it.

use crate::abi::{self, ibv_mr};
use crate::counts::Count;
use crate::domain::{self, Domain};
use crate::kdreg::kdreg_entry_t;
use crate::libibverbs::{self, Request};
use crate::registration::Registration;
use crate::wrapper::{Backing, Wrapper, seen};
use crate::{counts, errno, keys, lazy_dereg, settings, watch};
use std::ffi::c_int;

/// Access flags of registrations that caches may make. They are rights, which
/// two registrations with equal flags have alike: whoever finds one could have
/// made it, and can do by its keys just what it could have done by its own.
/// That goes for atomic operations too: one is a write of eight bytes to a
/// peer's memory, and what makes it atomic is the device that does it, among
/// all that it does there, by whichever registration. Not among the flags, as what they
/// make is more than a right: zero-based and on-demand ones, and those that
/// memory windows are bound to (drivers look behind the public part of their
/// `ibv_mr`, and a window lives on its own).
const CACHED: u32 = abi::ACCESS_LOCAL_WRITE | abi::ACCESS_REMOTE | abi::ACCESS_RELAXED_ORDERING;

/// Makes a registration by libibverbs, as asked for. When the caches hold what
/// it would need, they give it up.
pub fn pass(request: &Request) -> *mut ibv_mr {
    with_room(|| request.make())
}

fn with_room(make: impl Fn() -> *mut ibv_mr) -> *mut ibv_mr {
    let mr = make();
    if !mr.is_null() || errno::errno() != libc::ENOMEM || watch::is_forked_child() {
        return mr;
    }
    if domain::flush() {
        return make();
    }
    errno::set_errno(libc::ENOMEM);
    mr
}

/// An entry of a cache, and the registration behind it.
type Found = (&'static Domain, *mut kdreg_entry_t, &'static Registration);

/// An entry that covers the request: when it is to be one user's, the first that
/// nobody has.
fn find(request: &Request, sole: bool) -> Result<Found, &'static Count> {
    for user in 0..if sole { domain::USERS } else { 1 } {
        let domain = Domain::of(request, user).ok_or(&counts::UNCACHED)?;
        let (entry, found) = domain
            .get(request.addr, request.length)
            .ok_or(&counts::UNCACHED)?;
        if !sole || found.hold() {
            return Ok((domain, entry, found));
        }
        counts::HELD.one();
        domain.put(entry);
    }
    Err(&counts::IN_USE)
}

/// A registration from a cache; else why it has to be made by libibverbs.
fn share(request: &Request) -> Result<*mut ibv_mr, &'static Count> {
    let settings = settings::settings();
    if settings.disabled {
        return Err(&counts::DISABLED);
    }
    if request.access & !CACHED != 0 {
        return Err(&counts::KIND);
    }
    if request.access & abi::ACCESS_REMOTE != 0 && !settings.keep_remote {
        return Err(&counts::REMOTE);
    }
    if request.pd.is_null() || request.length == 0 || watch::is_forked_child() {
        return Err(&counts::UNCACHED);
    }
    if watch::monitor().is_none() {
        return Err(&counts::UNWATCHED);
    }
    let sole = lazy_dereg::is_sole(request.access);
    let (domain, entry, found) = find(request, sole)?;
    // SAFETY: an `ibv_mr` of libibverbs's, registered while the entry is held.
    let real = unsafe { &*found.mr() };
    let mr = seen(real, request.addr, request.length);
    if sole && !keys::hand_out(mr.context, mr.lkey) {
        found.let_go();
        domain.put(entry);
        return Err(&counts::UNCACHED);
    }
    let backing = if sole {
        Backing::Sole(domain, entry, found)
    } else {
        Backing::Shared(domain, entry)
    };
    Wrapper::hand_out(mr, request.access, backing).map_err(|backing| {
        // What it could fail with nobody has seen.
        let _ = release(&mr, backing);
        &counts::UNCACHED
    })
}

/// A registration from a cache where that may be, else by libibverbs.
pub fn register(request: Request) -> *mut ibv_mr {
    if libibverbs::is_inside() {
        return request.make();
    }
    counts::ASKED.one();
    let errno = errno::errno();
    let shared = share(&request);
    errno::set_errno(errno);
    match shared {
        // Nothing failed, as far as the program is concerned.
        Ok(mr) => mr,
        Err(why) => counted(why, || pass(&request)),
    }
}

/// A registration that libibverbs makes, for this reason.
fn counted(why: &Count, make: impl FnOnce() -> *mut ibv_mr) -> *mut ibv_mr {
    // On devices that others opened this may be the first that is seen here.
    // Without memory for it nothing is cached (`watch`).
    watch::follow_forks();
    let mr = make();
    let count = if mr.is_null() { &counts::FAILED } else { why };
    count.one();
    mr
}

/// Gives up what kept memory registered. When libibverbs refuses, its error,
/// and what is left as it was.
pub fn release(seen: &ibv_mr, backing: Backing) -> Result<(), (c_int, Backing)> {
    match backing {
        Backing::Shared(domain, entry) => domain.put(entry),
        Backing::Sole(domain, entry, found) => {
            match lazy_dereg::give_back(domain.access(), seen.context, seen.lkey, found) {
                Ok(()) => domain.put(entry),
                Err(why) => {
                    let mr = found.take();
                    // SAFETY: held for this one alone.
                    let error = unsafe { libibverbs::dereg_mr(mr) };
                    if error != 0 {
                        found.give(mr);
                        return Err((error, Backing::Sole(domain, entry, found)));
                    }
                    why.one();
                    keys::take_back(seen.context, seen.lkey);
                    domain.forget(seen.lkey, found);
                    domain.put_empty(entry);
                }
            }
        }
        Backing::Own(mr) => {
            // SAFETY: made for the wrapper that is going, and nobody else's.
            let error = unsafe { libibverbs::dereg_mr(mr) };
            if error != 0 {
                return Err((error, Backing::Own(mr)));
            }
        }
    }
    Ok(())
}

/// A registration that no cache could make.
pub fn other(make: impl Fn() -> *mut ibv_mr) -> *mut ibv_mr {
    if libibverbs::is_inside() {
        return make();
    }
    counts::ASKED.one();
    counted(&counts::OTHER, || with_room(&make))
}
