// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registrations that a program changes: it must have them to itself.

use crate::abi::{ibv_mr, ibv_pd};
use crate::libibverbs::{self, Request};
use crate::registering::{pass, release};
use crate::wrapper::{Backing, Wrapper};
use crate::{counts, errno, keys, watch};
use std::ffi::{c_int, c_void};

/// Of `enum ibv_rereg_mr_flags`.
const CHANGE_TRANSLATION: c_int = 1;
const CHANGE_PD: c_int = 2;
const CHANGE_ACCESS: c_int = 4;

/// Of `enum ibv_rereg_mr_err_code`: the registration is as it was.
const ERR_INPUT: c_int = -1;
/// The registration was changed.
const ERR_DO_FORK_OLD: c_int = -3;

/// `ibv_rereg_mr`: what is asked for, by the driver, on a registration that is
/// this program's alone. One that was held for it becomes its own, with its
/// keys. What others read by too stays theirs: the change is made to another
/// like it, and when it fails nothing has changed.
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
    let change = |mr| {
        // SAFETY: the program's arguments, for its registration.
        unsafe { libibverbs::rereg_mr(mr, flags, pd, addr, length, access) }
    };
    if !watch::is_forked_child() {
        counts::REREGISTERED.one();
    }
    let Some(found) = Wrapper::of(mr) else {
        return change(mr);
    };
    if watch::is_forked_child() {
        // The registration is the parent's.
        errno::set_errno(libc::EINVAL);
        return ERR_INPUT;
    }
    let Some(wrapper) = Wrapper::take(found) else {
        errno::set_errno(libc::EINVAL);
        return ERR_INPUT;
    };
    let result = on_its_own(wrapper, change, |seen, changed| {
        (seen.handle, seen.lkey, seen.rkey) = (changed.handle, changed.lkey, changed.rkey);
        if flags & CHANGE_PD != 0 {
            seen.pd = changed.pd;
        }
        if flags & CHANGE_TRANSLATION != 0 {
            (seen.addr, seen.length) = (changed.addr, changed.length);
        }
    });
    if is_changed(result) && flags & CHANGE_ACCESS != 0 {
        wrapper.access = access as u32;
    }
    wrapper.keep();
    result
}

fn is_changed(result: c_int) -> bool {
    matches!(result, 0 | ERR_DO_FORK_OLD)
}

/// Calls `change` with a registration that is the wrapper's alone, and `show`
/// with what came of it.
fn on_its_own(
    wrapper: &mut Wrapper,
    change: impl FnOnce(*mut ibv_mr) -> c_int,
    show: impl FnOnce(&mut ibv_mr, &ibv_mr),
) -> c_int {
    let like_it = match wrapper.backing.take() {
        Some(Backing::Sole(domain, entry, registration)) => {
            keys::take_back(wrapper.mr.context, wrapper.mr.lkey);
            domain.forget(wrapper.mr.lkey, registration);
            wrapper.backing = Some(Backing::Own(registration.take()));
            domain.put_empty(entry);
            None
        }
        Some(Backing::Shared(domain, entry)) => {
            let distance = domain.distance();
            let made = pass(&Request {
                way: libibverbs::way_for(distance == 0, wrapper.access),
                pd: wrapper.mr.pd,
                addr: wrapper.mr.addr,
                length: wrapper.mr.length,
                iova: (wrapper.mr.addr as u64).wrapping_add(distance),
                access: wrapper.access,
            });
            wrapper.backing = Some(Backing::Shared(domain, entry));
            if made.is_null() {
                return ERR_INPUT;
            }
            Some(made)
        }
        own => {
            wrapper.backing = own;
            None
        }
    };
    let mr = match (&wrapper.backing, like_it) {
        (_, Some(made)) => made,
        (Some(Backing::Own(mr)), None) => *mr,
        _ => {
            errno::set_errno(libc::EINVAL);
            return ERR_INPUT;
        }
    };
    let result = change(mr);
    let errno = errno::errno();
    match like_it {
        Some(made) if !is_changed(result) => {
            // SAFETY: made above, and known to nobody. What it returns is about
            // nothing that the program knows of.
            let _ = unsafe { libibverbs::dereg_mr(made) };
        }
        Some(made) => {
            let old = wrapper.backing.replace(Backing::Own(made));
            // Others may read by it; giving it back does not fail.
            let _ = old.map(|old| release(&wrapper.mr, old));
            // SAFETY: libibverbs's, and this wrapper's.
            show(&mut wrapper.mr, unsafe { &*made });
        }
        // SAFETY: as above. After a failure too: its keys may be others.
        None if is_changed(result) => show(&mut wrapper.mr, unsafe { &*mr }),
        None => {}
    }
    errno::set_errno(errno);
    result
}
