// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registrations that a program changes: they cannot be shared any more.

use crate::real::{self, Request, Way, ibv_mr, ibv_pd};
use crate::wrapper::{Backing, Wrapper};
use crate::{pass, release, report, watch};
use std::ffi::{c_int, c_void};

/// `ibv_rereg_mr`. A shared registration is left to the others, and the program
/// gets one of its own, with new keys, as this call may give.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_rereg_mr(
    mr: *mut ibv_mr,
    flags: c_int,
    pd: *mut ibv_pd,
    addr: *mut c_void,
    length: usize,
    access: c_int,
) -> c_int {
    const CHANGE_TRANSLATION: c_int = 1;
    const CHANGE_PD: c_int = 2;
    const CHANGE_ACCESS: c_int = 4;
    /// The old registration is as it was: every failure here is of that kind.
    const UNCHANGED: c_int = -1;
    let Some(found) = Wrapper::of(mr) else {
        // SAFETY: the program's.
        return unsafe { real::rereg_mr(mr, flags, pd, addr, length, access) };
    };
    let known = CHANGE_TRANSLATION | CHANGE_PD | CHANGE_ACCESS;
    if flags == 0 || flags & !known != 0 || watch::is_forked_child() {
        report::set_errno(libc::EINVAL);
        return UNCHANGED;
    }
    let Some(wrapper) = Wrapper::take(found) else {
        report::set_errno(libc::EINVAL);
        return UNCHANGED;
    };
    let distance = match &wrapper.backing {
        Some(Backing::Shared(domain, _)) if flags & CHANGE_TRANSLATION == 0 => domain.distance(),
        _ => 0,
    };
    let mut new = Request {
        way: Way::Plain,
        pd: wrapper.mr.pd,
        addr: wrapper.mr.addr,
        length: wrapper.mr.length,
        iova: 0,
        access: wrapper.access,
    };
    if flags & CHANGE_TRANSLATION != 0 {
        (new.addr, new.length) = (addr, length);
    }
    if flags & CHANGE_PD != 0 {
        new.pd = pd;
    }
    if flags & CHANGE_ACCESS != 0 {
        new.access = access.cast_unsigned();
    }
    new.iova = (new.addr as u64).wrapping_add(distance);
    new.way = real::way_for(distance == 0, new.access);
    let made = pass(&new);
    if made.is_null() {
        wrapper.keep();
        return UNCHANGED;
    }
    // SAFETY: libibverbs made it just now.
    wrapper.mr = unsafe { *made };
    wrapper.access = new.access;
    let old = wrapper.backing.replace(Backing::Own(made));
    wrapper.keep();
    // What it returns is about the old registration, which the program has no more.
    let _ = old.map_or(0, release);
    0
}
