// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stands in the place of a driver's functions to post and to poll: each
//! calls the driver's, and notes what is outstanding.
//!
//! Noted is work by which the card writes to local memory: receives, reads and
//! atomic operations. What it sends it reads only. A list without any goes to
//! the driver with a look at its opcodes.

use crate::abi::*;
use crate::cancellation::held_off;
use crate::context::{self, Context, Sight};
use crate::queues::{self, Half, Posted, Queues};
use crate::{errno, kept, keys, libibverbs, watch};
use std::ffi::{c_int, c_void};
use std::mem::transmute;
use std::sync::atomic::Ordering;

// What is cancelled in one of these unwinds: `cancellation` says who may call
// them as they are.
type PollCq = unsafe extern "C-unwind" fn(*mut ibv_cq, c_int, *mut ibv_wc) -> c_int;
type PostSend =
    unsafe extern "C-unwind" fn(*mut ibv_qp, *mut ibv_send_wr, *mut *mut ibv_send_wr) -> c_int;
type PostRecv =
    unsafe extern "C-unwind" fn(*mut ibv_qp, *mut ibv_recv_wr, *mut *mut ibv_recv_wr) -> c_int;
type PostSrqRecv =
    unsafe extern "C-unwind" fn(*mut ibv_srq, *mut ibv_recv_wr, *mut *mut ibv_recv_wr) -> c_int;
type PostSrqOps = unsafe extern "C" fn(*mut ibv_srq, *mut c_void, *mut *mut c_void) -> c_int;
type CreateWq = unsafe extern "C" fn(*mut ibv_context, *mut c_void) -> *mut c_void;

/// The driver's function in a slot of a context that is known.
fn driver(
    context: *mut ibv_context,
    slot: fn(&Context) -> &Slot,
) -> Option<(&'static Context, *mut c_void)> {
    let known = context::find(context)?;
    let function = slot(known).load(Ordering::Relaxed);
    (!function.is_null()).then_some((known, function))
}

/// # Safety
/// A request's list of buffers.
unsafe fn sges<'a>(list: *mut ibv_sge, number: c_int) -> &'a [ibv_sge] {
    match usize::try_from(number) {
        // SAFETY: so many, says the program.
        Ok(number @ 1..) if !list.is_null() => unsafe { std::slice::from_raw_parts(list, number) },
        _ => &[],
    }
}

/// Whether the card writes to local memory for a request of this kind.
fn writes(opcode: c_int) -> bool {
    matches!(
        opcode,
        WR_RDMA_READ | WR_ATOMIC_CMP_AND_SWP | WR_ATOMIC_FETCH_AND_ADD
    )
}

/// Whether receives that this queue pair completes are posted to another queue.
pub fn receives_elsewhere(qp: &ibv_qp) -> bool {
    !qp.srq.is_null() || !matches!(qp.qp_type, QPT_RC | QPT_UC | QPT_UD)
}

/// How many requests there are from `from` on, of those that `which` tells.
///
/// # Safety
/// A program's list of requests.
unsafe fn count<T>(mut from: *mut T, next: fn(&T) -> *mut T, which: fn(&T) -> bool) -> u64 {
    let mut number = 0;
    while !from.is_null() {
        // SAFETY: a request of the list.
        let request = unsafe { &*from };
        number += u64::from(which(request));
        from = next(request);
    }
    number
}

/// Gives the driver a list, by `call`, whose requests of the kind `which` have their
/// places; unlocks the order. The program is told what was refused first, if the
/// driver says so.
///
/// # Safety
/// `bad` is where the program wants to have it; what `call` puts into its own is a
/// request of the program's list.
unsafe fn give<T>(
    half: Option<&Half>,
    bad: *mut *mut T,
    call: impl FnOnce(*mut *mut T) -> c_int,
    next: fn(&T) -> *mut T,
    which: fn(&T) -> bool,
) -> c_int {
    // Null, if the driver does not say: then all count as posted.
    let mut first = std::ptr::null_mut();
    let error = held_off(|| call(&raw mut first));
    if !first.is_null() {
        // SAFETY: the caller's promise.
        unsafe { bad.write(first) };
    }
    if let Some(half) = half {
        if error != 0 {
            // SAFETY: the first that the driver refused, of the same list.
            half.refused(unsafe { count(first, next, which) });
        }
        half.order.unlock();
    }
    error
}

/// Whether a queue pair of this type completes in order what is posted to it.
pub fn is_in_order(qp_type: c_int) -> bool {
    matches!(qp_type, QPT_RC | QPT_UC)
}

pub unsafe extern "C-unwind" fn poll_cq(cq: *mut ibv_cq, most: c_int, wc: *mut ibv_wc) -> c_int {
    // SAFETY: the program's completion queue.
    let context = unsafe { (*cq).context };
    let Some((_, function)) = driver(context, |known| &known.poll_cq) else {
        return -libc::EINVAL;
    };
    // SAFETY: the driver's function, and the program's arguments. Cancelled in
    // there, a thread has counted no completion too many.
    let number = unsafe { transmute::<*mut c_void, PollCq>(function)(cq, most, wc) };
    if number <= 0 || watch::is_forked_child() {
        return number;
    }
    // SAFETY: so many the driver has written.
    for wc in unsafe { std::slice::from_raw_parts(wc, number as usize) } {
        if wc.status != WC_SUCCESS {
            continue;
        }
        match wc.opcode {
            WC_RECV | WC_RECV_RDMA_WITH_IMM => queues::completed(context, wc.qp_num, false),
            WC_RDMA_READ | WC_COMP_SWAP | WC_FETCH_ADD => {
                queues::completed(context, wc.qp_num, true);
            }
            _ => {}
        }
    }
    number
}

pub unsafe extern "C-unwind" fn post_recv(
    qp: *mut ibv_qp,
    wr: *mut ibv_recv_wr,
    bad: *mut *mut ibv_recv_wr,
) -> c_int {
    // SAFETY: the program's queue pair.
    let (context, number, qp_type) =
        unsafe { ((*qp).context, u64::from((*qp).qp_num), (*qp).qp_type) };
    let Some((_, function)) = driver(context, |known| &known.post_recv) else {
        return libc::EINVAL;
    };
    let call = |bad| {
        // SAFETY: the driver's function, and the program's arguments.
        unsafe { transmute::<*mut c_void, PostRecv>(function)(qp, wr, bad) }
    };
    if watch::is_forked_child() {
        return call(bad);
    }
    let queues = queues::of(context, number, is_in_order(qp_type));
    // SAFETY: the program's list, and where it will say what was refused.
    unsafe { receive(context, queues, wr, bad, call) }
}

pub unsafe extern "C-unwind" fn post_srq_recv(
    srq: *mut ibv_srq,
    wr: *mut ibv_recv_wr,
    bad: *mut *mut ibv_recv_wr,
) -> c_int {
    // SAFETY: the program's shared receive queue.
    let (context, handle) = unsafe { ((*srq).context, (*srq).handle) };
    let Some((_, function)) = driver(context, |known| &known.post_srq_recv) else {
        return libc::EINVAL;
    };
    let call = |bad| {
        // SAFETY: the driver's function, and the program's arguments.
        unsafe { transmute::<*mut c_void, PostSrqRecv>(function)(srq, wr, bad) }
    };
    if watch::is_forked_child() {
        return call(bad);
    }
    // It completes in any order.
    let queues = queues::of(context, queues::shared(handle), false);
    // SAFETY: the program's list, and where it will say what was refused.
    unsafe { receive(context, queues, wr, bad, call) }
}

/// Notes a request that writes by `key`, before the driver has it. What stays
/// registered by a key that was given back goes.
pub fn write(context: *mut ibv_context, key: u32, posted: Option<Posted>) {
    if keys::write(context, key, posted) {
        revoke(context, key);
    }
}

#[cold]
fn revoke(context: *mut ibv_context, key: u32) {
    let errno = errno::errno();
    // SAFETY: a cache's, which nobody has.
    let deregister = |mr| unsafe { libibverbs::dereg_mr(mr) };
    if held_off(|| kept::revoke(context, key, deregister)) {
        keys::unmade(context, key);
    }
    errno::set_errno(errno);
}

/// Posts receives.
///
/// # Safety
/// `wr` is a program's list, and `bad` where the driver puts what it refused.
unsafe fn receive(
    context: *mut ibv_context,
    queues: Option<&'static Queues>,
    wr: *mut ibv_recv_wr,
    bad: *mut *mut ibv_recv_wr,
    call: impl FnOnce(*mut *mut ibv_recv_wr) -> c_int,
) -> c_int {
    if let Some(queues) = queues {
        queues.receive.order.lock();
    }
    let mut one = wr;
    while !one.is_null() {
        // SAFETY: a request of the list.
        let request = unsafe { &*one };
        let posted = queues.map(|queues| Posted::at(queues, false, queues.receive.place()));
        // SAFETY: its buffers.
        for sge in unsafe { sges(request.sg_list, request.num_sge) } {
            write(context, sge.lkey, posted);
        }
        one = request.next;
    }
    let half = queues.map(|queues| &queues.receive);
    // SAFETY: the caller's promise.
    unsafe { give(half, bad, call, |request| request.next, |_| true) }
}

pub unsafe extern "C-unwind" fn post_send(
    qp: *mut ibv_qp,
    wr: *mut ibv_send_wr,
    bad: *mut *mut ibv_send_wr,
) -> c_int {
    // SAFETY: the program's queue pair.
    let context = unsafe { (*qp).context };
    let Some((known, function)) = driver(context, |known| &known.post_send) else {
        return libc::EINVAL;
    };
    let call = |bad| {
        // SAFETY: the driver's function, and the program's arguments.
        unsafe { transmute::<*mut c_void, PostSend>(function)(qp, wr, bad) }
    };
    if watch::is_forked_child() {
        return call(bad);
    }
    let named = known.sight() == Sight::Named;
    let (mut one, mut any) = (wr, false);
    while !one.is_null() {
        // SAFETY: a request of the program's list.
        let request = unsafe { &*one };
        any |= writes(request.opcode);
        if named {
            // SAFETY: its buffers.
            keys::name_all(context, unsafe { sges(request.sg_list, request.num_sge) });
        }
        one = request.next;
    }
    if !any {
        return call(bad);
    }
    // SAFETY: the program's, and a list of its requests.
    unsafe { send(qp, wr, bad, call) }
}

/// Posts a list in which are requests that write to local memory.
///
/// # Safety
/// As for `receive`.
unsafe fn send(
    qp: *mut ibv_qp,
    wr: *mut ibv_send_wr,
    bad: *mut *mut ibv_send_wr,
    call: impl FnOnce(*mut *mut ibv_send_wr) -> c_int,
) -> c_int {
    // SAFETY: the program's queue pair.
    let (context, number, qp_type) =
        unsafe { ((*qp).context, u64::from((*qp).qp_num), (*qp).qp_type) };
    let queues = queues::of(context, number, is_in_order(qp_type));
    if let Some(queues) = queues {
        queues.send.order.lock();
    }
    let mut one = wr;
    while !one.is_null() {
        // SAFETY: a request of the list.
        let request = unsafe { &*one };
        if writes(request.opcode) {
            let posted = queues.map(|queues| Posted::at(queues, true, queues.send.place()));
            // SAFETY: its buffers.
            for sge in unsafe { sges(request.sg_list, request.num_sge) } {
                write(context, sge.lkey, posted);
            }
        }
        one = request.next;
    }
    let half = queues.map(|queues| &queues.send);
    let writes = |request: &ibv_send_wr| writes(request.opcode);
    // SAFETY: the caller's promise.
    unsafe { give(half, bad, call, |request| request.next, writes) }
}

pub unsafe extern "C" fn post_srq_ops(
    srq: *mut ibv_srq,
    op: *mut c_void,
    bad: *mut *mut c_void,
) -> c_int {
    // SAFETY: the program's shared receive queue.
    let context = unsafe { (*srq).context };
    let Some((known, function)) = driver(context, |known| &known.post_srq_ops) else {
        return libc::EINVAL;
    };
    // Buffers for tagged messages, in structures that are not known here.
    known.lose_sight();
    // SAFETY: the driver's function, and the program's arguments.
    held_off(|| unsafe { transmute::<*mut c_void, PostSrqOps>(function)(srq, op, bad) })
}

pub unsafe extern "C" fn create_wq(context: *mut ibv_context, attr: *mut c_void) -> *mut c_void {
    let Some((known, function)) = driver(context, |known| &known.create_wq) else {
        return std::ptr::null_mut();
    };
    // Programs post to it by a function of its own.
    known.lose_sight();
    // SAFETY: the driver's function, and the program's arguments.
    held_off(|| unsafe { transmute::<*mut c_void, CreateWq>(function)(context, attr) })
}
