// SPDX-License-Identifier: MIT OR Apache-2.0
//! libkdreg-verbs.so: a registration cache for any verbs program, by
//! `LD_PRELOAD`.
//!
//! * A registration that may stay when it is deregistered (`keep`) comes from a
//!   cache; the program gets an `ibv_mr` of its own (`wrapper`). Deregistering
//!   gives it back, and it stays registered until its memory changes or room is
//!   needed, or is deregistered really, when something may still arrive there.
//! * The rest, and what the cache cannot register, goes to libibverbs as the
//!   program asked for it. So a program never gets another error than it would
//!   have had.
//! * Before a protection domain or a device goes, so do its registrations.
//!
//! What is posted and polled is seen by functions in the place of the driver's
//! (`context`, `post`, `pieces`). Nothing else is set up before the first
//! registration.

mod abi;
mod callbacks;
mod caller;
mod cancellation;
mod context;
mod devices;
mod domain;
mod function;
mod kdreg;
mod keep;
mod kept;
mod keys;
mod lock;
mod memory;
mod objects;
// The adaptor's own, which stands on nothing else of the library's.
#[path = "../../../libkdreg/src/adaptors/verbs/odp/mod.rs"]
mod odp;
mod pieces;
mod post;
mod queues;
mod real;
mod registration;
mod report;
mod rereg;
mod reserved;
mod watch;
mod wrapper;

use abi::{ibv_mr, ibv_pd};
use domain::Domain;
use kdreg::kdreg_entry_t;
use real::{Request, Way};
use registration::Registration;
use report::Count;
use std::ffi::{c_int, c_void};
use wrapper::{Backing, Wrapper, seen};

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
fn pass(request: &Request) -> *mut ibv_mr {
    with_room(|| request.make())
}

fn with_room(make: impl Fn() -> *mut ibv_mr) -> *mut ibv_mr {
    let mr = make();
    if !mr.is_null() || report::errno() != libc::ENOMEM || watch::is_forked_child() {
        return mr;
    }
    if domain::flush() {
        return make();
    }
    report::set_errno(libc::ENOMEM);
    mr
}

/// An entry of a cache, and the registration behind it.
type Found = (&'static Domain, *mut kdreg_entry_t, &'static Registration);

/// An entry that covers the request: when it is to be one user's, the first that
/// nobody has.
fn find(request: &Request, sole: bool) -> Result<Found, &'static Count> {
    for user in 0..if sole { domain::USERS } else { 1 } {
        let domain = Domain::of(request, user).ok_or(&report::UNCACHED)?;
        let (entry, found) = domain
            .get(request.addr, request.length)
            .ok_or(&report::UNCACHED)?;
        if !sole || found.hold() {
            return Ok((domain, entry, found));
        }
        report::HELD.one();
        domain.put(entry);
    }
    Err(&report::IN_USE)
}

/// A registration from a cache; else why it has to be made by libibverbs.
fn share(request: &Request) -> Result<*mut ibv_mr, &'static Count> {
    let settings = report::settings();
    if settings.disabled {
        return Err(&report::DISABLED);
    }
    if request.access & !CACHED != 0 {
        return Err(&report::KIND);
    }
    if request.access & abi::ACCESS_REMOTE != 0 && !settings.keep_remote {
        return Err(&report::REMOTE);
    }
    if request.pd.is_null() || request.length == 0 || watch::is_forked_child() {
        return Err(&report::UNCACHED);
    }
    if watch::monitor().is_none() {
        return Err(&report::UNWATCHED);
    }
    let sole = keep::is_sole(request.access);
    let (domain, entry, found) = find(request, sole)?;
    // SAFETY: an `ibv_mr` of libibverbs's, registered while the entry is held.
    let real = unsafe { &*found.mr() };
    let mr = seen(real, request.addr, request.length);
    if sole && !keys::hand_out(mr.context, mr.lkey) {
        found.let_go();
        domain.put(entry);
        return Err(&report::UNCACHED);
    }
    let backing = if sole {
        Backing::Sole(domain, entry, found)
    } else {
        Backing::Shared(domain, entry)
    };
    Wrapper::hand_out(mr, request.access, backing).map_err(|backing| {
        // What it could fail with nobody has seen.
        let _ = release(&mr, backing);
        &report::UNCACHED
    })
}

fn register(request: Request) -> *mut ibv_mr {
    if real::is_inside() {
        return request.make();
    }
    report::ASKED.one();
    let errno = report::errno();
    let shared = share(&request);
    report::set_errno(errno);
    match shared {
        // Nothing failed, as far as the program is concerned.
        Ok(mr) => mr,
        Err(why) => counted(why, || pass(&request)),
    }
}

/// A registration that libibverbs makes, for this reason.
fn counted(why: &Count, make: impl FnOnce() -> *mut ibv_mr) -> *mut ibv_mr {
    let mr = make();
    let count = if mr.is_null() { &report::FAILED } else { why };
    count.one();
    mr
}

/// Gives up what kept memory registered. When libibverbs refuses, its error,
/// and what is left as it was.
fn release(seen: &ibv_mr, backing: Backing) -> Result<(), (c_int, Backing)> {
    match backing {
        Backing::Shared(domain, entry) => domain.put(entry),
        Backing::Sole(domain, entry, found) => {
            match keep::give_back(domain.access(), seen.context, seen.lkey, found) {
                Ok(()) => domain.put(entry),
                Err(why) => {
                    let mr = found.take();
                    // SAFETY: held for this one alone.
                    let error = unsafe { real::dereg_mr(mr) };
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
            let error = unsafe { real::dereg_mr(mr) };
            if error != 0 {
                return Err((error, Backing::Own(mr)));
            }
        }
    }
    Ok(())
}

/// `ibv_reg_mr`, from a cache where that may be.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_mr(
    pd: *mut ibv_pd,
    addr: *mut c_void,
    length: usize,
    access: c_int,
) -> *mut ibv_mr {
    let (way, iova, access) = (Way::Plain, addr as u64, access as u32);
    register(Request {
        way,
        pd,
        addr,
        length,
        iova,
        access,
    })
}

/// `ibv_reg_mr_iova`, from a cache where that may be.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_mr_iova(
    pd: *mut ibv_pd,
    addr: *mut c_void,
    length: usize,
    iova: u64,
    access: c_int,
) -> *mut ibv_mr {
    let (way, access) = (Way::Iova, access as u32);
    register(Request {
        way,
        pd,
        addr,
        length,
        iova,
        access,
    })
}

// `ibv_reg_mr_iova2`, from a cache where that may be. The header's inline
// `ibv_reg_mr` calls it when the flags are not a constant. Adds the address
// that it will return to, which a function of Rust cannot ask for.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .text.ibv_reg_mr_iova2, \"ax\", @progbits",
    ".p2align 4",
    ".globl ibv_reg_mr_iova2",
    ".type ibv_reg_mr_iova2, @function",
    "ibv_reg_mr_iova2:",
    ".cfi_startproc",
    "mov r9, [rsp]",
    "jmp {from}",
    ".cfi_endproc",
    ".size ibv_reg_mr_iova2, . - ibv_reg_mr_iova2",
    ".popsection",
    from = sym iova2_from,
);
#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .text.ibv_reg_mr_iova2, \"ax\", %progbits",
    ".p2align 2",
    ".globl ibv_reg_mr_iova2",
    ".type ibv_reg_mr_iova2, %function",
    "ibv_reg_mr_iova2:",
    ".cfi_startproc",
    "mov x5, x30",
    "b {from}",
    ".cfi_endproc",
    ".size ibv_reg_mr_iova2, . - ibv_reg_mr_iova2",
    ".popsection",
    from = sym iova2_from,
);

/// On other architectures nobody knows who calls: passed through.
///
/// # Safety
/// As libibverbs's.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_mr_iova2(
    pd: *mut ibv_pd,
    addr: *mut c_void,
    length: usize,
    iova: u64,
    access: u32,
) -> *mut ibv_mr {
    iova2_from(pd, addr, length, iova, access, 0)
}

extern "C" fn iova2_from(
    pd: *mut ibv_pd,
    addr: *mut c_void,
    length: usize,
    iova: u64,
    access: u32,
    caller: usize,
) -> *mut ibv_mr {
    let request = Request {
        way: Way::Iova2,
        pd,
        addr,
        length,
        iova,
        access,
    };
    if real::is_inside() || !caller::is_linked(caller) {
        return request.make();
    }
    register(request)
}

/// `ibv_reg_mr_ex`, as it is: it says more than a cache compares.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_mr_ex(pd: *mut ibv_pd, attr: *mut c_void) -> *mut ibv_mr {
    // SAFETY: the program's.
    other(|| unsafe { real::reg_mr_ex(pd, attr) })
}

/// `ibv_reg_dmabuf_mr`, as it is: its memory is not this process's.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_dmabuf_mr(
    pd: *mut ibv_pd,
    offset: u64,
    length: usize,
    iova: u64,
    fd: c_int,
    access: c_int,
) -> *mut ibv_mr {
    // SAFETY: the program's.
    other(|| unsafe { real::reg_dmabuf_mr(pd, offset, length, iova, fd, access) })
}

/// A registration that no cache could make.
fn other(make: impl Fn() -> *mut ibv_mr) -> *mut ibv_mr {
    if real::is_inside() {
        return make();
    }
    report::ASKED.one();
    counted(&report::OTHER, || with_room(&make))
}

/// `ibv_dereg_mr`: gives a registration back. 0, or an errno value; `EINVAL`
/// for one that was deregistered before.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_dereg_mr(mr: *mut ibv_mr) -> c_int {
    let Some(found) = Wrapper::of(mr) else {
        // SAFETY: the program's.
        return unsafe { real::dereg_mr(mr) };
    };
    if watch::is_forked_child() {
        // The registration is the parent's.
        return 0;
    }
    let errno = report::errno();
    let Some(wrapper) = Wrapper::take(found) else {
        return libc::EINVAL;
    };
    let Some(backing) = wrapper.backing.take() else {
        wrapper.keep();
        return libc::EINVAL;
    };
    match release(&wrapper.mr, backing) {
        Ok(()) => {
            wrapper.give_back();
            report::set_errno(errno);
            0
        }
        Err((error, backing)) => {
            wrapper.backing = Some(backing);
            wrapper.keep();
            error
        }
    }
}
