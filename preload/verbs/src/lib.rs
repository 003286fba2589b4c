// SPDX-License-Identifier: MIT OR Apache-2.0
//! libkdreg-verbs.so: a registration cache for any verbs program, by
//! `LD_PRELOAD`.
//!
//! * A registration that may be shared comes from a cache; the program gets an
//!   `ibv_mr` of its own (`wrapper`). Deregistering gives it back, and it
//!   stays registered until its memory changes or room is needed.
//! * What must not be shared, and what the cache cannot register, goes to
//!   libibverbs as the program asked for it. So a program never gets another
//!   error than it would have had.
//! * Before a protection domain or a device goes, so do its registrations.
//!
//! Nothing is set up before the first registration.

mod caller;
mod domain;
mod kdreg;
mod real;
mod report;
mod rereg;
mod watch;
mod wrapper;

use domain::Domain;
use real::{Request, Way, ibv_context, ibv_mr, ibv_pd};
use std::ffi::{c_int, c_void};
use std::sync::atomic::Ordering;
use wrapper::{Backing, Wrapper, seen};

/// Access flags that registrations may have in common. Not among them, as
/// what they make is more than a right: zero-based and on-demand ones, those
/// that memory windows are bound to (drivers look behind the public part of
/// their `ibv_mr`), and those for atomic operations.
const SHARED: u32 = real::ACCESS_LOCAL_WRITE
    | real::ACCESS_REMOTE_WRITE
    | real::ACCESS_REMOTE_READ
    | real::ACCESS_FLUSH_GLOBAL
    | real::ACCESS_FLUSH_PERSISTENT
    | real::ACCESS_RELAXED_ORDERING;

/// Makes a registration by libibverbs, as asked for. When the caches hold what
/// it would need, they give it up.
fn pass(request: &Request) -> *mut ibv_mr {
    let mr = request.make();
    if !mr.is_null() || report::errno() != libc::ENOMEM || watch::is_forked_child() {
        return mr;
    }
    if domain::flush() {
        return request.make();
    }
    report::set_errno(libc::ENOMEM);
    mr
}

/// A registration from a cache; null when it has to be made by libibverbs.
fn share(request: &Request) -> *mut ibv_mr {
    let none = std::ptr::null_mut();
    if request.access & !SHARED != 0
        || request.pd.is_null()
        || request.length == 0
        || watch::is_forked_child()
    {
        return none;
    }
    let Some(domain) = Domain::of(request) else {
        return none;
    };
    let Some((entry, shared)) = domain.get(request.addr, request.length) else {
        return none;
    };
    // SAFETY: an `ibv_mr` of libibverbs's, registered while the entry is held.
    let mr = seen(unsafe { &*shared }, request.addr, request.length);
    match Wrapper::hand_out(mr, request.access, Backing::Shared(domain, entry)) {
        Ok(mr) => mr,
        Err(backing) => {
            release(backing);
            none
        }
    }
}

fn register(request: Request) -> *mut ibv_mr {
    if real::is_inside() {
        return request.make();
    }
    report::ASKED.fetch_add(1, Ordering::Relaxed);
    let errno = report::errno();
    let shared = share(&request);
    if !shared.is_null() {
        // Nothing failed, as far as the program is concerned.
        report::set_errno(errno);
        return shared;
    }
    report::set_errno(errno);
    let mr = pass(&request);
    let count = if mr.is_null() {
        &report::FAILED
    } else {
        &report::PASSED
    };
    count.fetch_add(1, Ordering::Relaxed);
    mr
}

/// Gives up what kept memory registered; 0, or libibverbs's error.
fn release(backing: Backing) -> c_int {
    match backing {
        Backing::Shared(domain, entry) => {
            domain.put(entry);
            0
        }
        // SAFETY: made for the wrapper that is going, and nobody else's.
        Backing::Own(mr) => unsafe { real::dereg_mr(mr) },
    }
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
    let (way, iova, access) = (Way::Plain, addr as u64, access.cast_unsigned());
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
    let (way, access) = (Way::Iova, access.cast_unsigned());
    register(Request {
        way,
        pd,
        addr,
        length,
        iova,
        access,
    })
}

/// `ibv_reg_mr_iova2`, from a cache where that may be. The header's inline
/// `ibv_reg_mr` calls it when the flags are not a constant. Adds the address
/// that it will return to, which a function cannot ask for.
///
/// # Safety
/// As libibverbs's.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_mr_iova2(
    pd: *mut ibv_pd,
    addr: *mut c_void,
    length: usize,
    iova: u64,
    access: u32,
) -> *mut ibv_mr {
    std::arch::naked_asm!("mov r9, [rsp]", "jmp {}", sym iova2_from)
}

/// As for x86-64.
///
/// # Safety
/// As libibverbs's.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_mr_iova2(
    pd: *mut ibv_pd,
    addr: *mut c_void,
    length: usize,
    iova: u64,
    access: u32,
) -> *mut ibv_mr {
    std::arch::naked_asm!("mov x5, x30", "b {}", sym iova2_from)
}

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

/// `ibv_dereg_mr`: gives a shared registration back. 0, or an errno value;
/// `EINVAL` for one that was deregistered before.
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
    let error = wrapper.give_back().map_or(libc::EINVAL, release);
    report::set_errno(errno);
    error
}

/// `ibv_dealloc_pd`, with nothing idle left registered in it.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_dealloc_pd(pd: *mut ibv_pd) -> c_int {
    // SAFETY: the program's.
    domain::without_pd(pd, || unsafe { real::dealloc_pd(pd) })
}

/// `ibv_unimport_pd`, with nothing idle left registered in it.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_unimport_pd(pd: *mut ibv_pd) {
    domain::without_pd(pd, || {
        // SAFETY: the program's.
        unsafe { real::unimport_pd(pd) };
        0
    });
}

/// `ibv_close_device`, with nothing idle left registered there.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_close_device(context: *mut ibv_context) -> c_int {
    // SAFETY: the program's.
    domain::without_context(context, || unsafe { real::close_device(context) })
}
