// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices, protection domains and queues: what begins and ends with them.

use crate::abi::{ibv_context, ibv_pd, ibv_qp, ibv_qp_ex, ibv_srq};
use crate::{context, domain, interpose, libibverbs, post, qp_ex, queues, settings, watch};
use std::ffi::{c_int, c_void};

/// `ibv_open_device`: what is posted there is seen.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_open_device(device: *mut c_void) -> *mut ibv_context {
    // SAFETY: the program's.
    let context = unsafe { libibverbs::open_device(device) };
    let seen = !watch::is_forked_child() && !settings::settings().disabled;
    // A child must not wait for what a thread here holds while it posts.
    if !context.is_null() && seen && watch::follow_forks() {
        interpose::opened(context);
    }
    context
}

/// `ibv_import_device`: what is posted there to domains that came along is not
/// seen, and may name keys of any device that this process has open.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_import_device(fd: c_int) -> *mut ibv_context {
    // SAFETY: the program's.
    let context = unsafe { libibverbs::import_device(fd) };
    if !context.is_null() && !watch::is_forked_child() {
        context::lose_sight();
        // What stays so far stays no longer: nobody would see it posted.
        domain::flush();
    }
    context
}

/// `ibv_close_device`, with nothing idle left registered there.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_close_device(context: *mut ibv_context) -> c_int {
    if watch::is_forked_child() {
        // SAFETY: the program's.
        return unsafe { libibverbs::close_device(context) };
    }
    domain::without_context(context, || {
        interpose::closing(context);
        // SAFETY: the program's.
        let error = unsafe { libibverbs::close_device(context) };
        if error == 0 {
            queues::closed(context);
        }
        // One that cannot be closed is one whose posts are not seen any more.
        error
    })
}

/// `ibv_destroy_qp`: what was posted there is not outstanding any more.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_destroy_qp(qp: *mut ibv_qp) -> c_int {
    // SAFETY: the program's.
    let (context, number) = unsafe { ((*qp).context, u64::from((*qp).qp_num)) };
    // SAFETY: as above.
    let elsewhere = unsafe { post::receives_elsewhere(&*qp) };
    destroyed(context, number, elsewhere, || {
        // SAFETY: the program's.
        unsafe { libibverbs::destroy_qp(qp) }
    })
}

/// `ibv_destroy_srq`: as for a queue pair.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_destroy_srq(srq: *mut ibv_srq) -> c_int {
    // SAFETY: the program's.
    let (context, number) = unsafe { ((*srq).context, queues::shared((*srq).handle)) };
    destroyed(context, number, false, || {
        // SAFETY: the program's.
        unsafe { libibverbs::destroy_srq(srq) }
    })
}

fn destroyed(
    context: *mut ibv_context,
    number: u64,
    elsewhere: bool,
    destroy: impl FnOnce() -> c_int,
) -> c_int {
    // Another may have the number as soon as this one is gone.
    let leaving = (!watch::is_forked_child()).then(|| queues::leave(context, number, elsewhere));
    let error = destroy();
    if let Some(leaving) = leaving {
        leaving.end(error == 0);
    }
    error
}

/// `ibv_qp_to_qp_ex`: what is posted in pieces is seen.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_qp_to_qp_ex(qp: *mut ibv_qp) -> *mut ibv_qp_ex {
    // SAFETY: the program's.
    let extended = unsafe { libibverbs::qp_to_qp_ex(qp) };
    qp_ex::given(extended);
    extended
}

/// `ibv_dealloc_pd`, with nothing idle left registered in it.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_dealloc_pd(pd: *mut ibv_pd) -> c_int {
    // SAFETY: the program's.
    domain::without_pd(pd, || unsafe { libibverbs::dealloc_pd(pd) })
}

/// `ibv_unimport_pd`, with nothing idle left registered in it.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_unimport_pd(pd: *mut ibv_pd) {
    domain::without_pd(pd, || {
        // SAFETY: the program's.
        unsafe { libibverbs::unimport_pd(pd) };
        0
    });
}
