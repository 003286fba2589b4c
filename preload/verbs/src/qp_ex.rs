// SPDX-License-Identifier: MIT OR Apache-2.0
//! Queue pairs that work is posted to in pieces (`ibv_wr_start`,
//! `ibv_wr_rdma_read`, `ibv_wr_set_sge`, ... `ibv_wr_complete`): the functions
//! are in the `ibv_qp_ex`, and are exchanged when the program asks for it.
//!
//! The queue's `order` is held from `wr_start` to `wr_complete`, as drivers
//! hold a lock of their own.

use crate::abi::*;
use crate::cancellation::held_off;
use crate::context::{self, Sight};
use crate::interpose::exchange;
use crate::queues::{self, Posted};
use crate::{keys, post, watch};
use std::ffi::{c_int, c_void};
use std::mem::transmute;
use std::sync::atomic::Ordering;

type Of = unsafe extern "C-unwind" fn(*mut ibv_qp_ex);
type Complete = unsafe extern "C-unwind" fn(*mut ibv_qp_ex) -> c_int;
type Read = unsafe extern "C-unwind" fn(*mut ibv_qp_ex, u32, u64);
type Add = unsafe extern "C-unwind" fn(*mut ibv_qp_ex, u32, u64, u64);
type Swap = unsafe extern "C-unwind" fn(*mut ibv_qp_ex, u32, u64, u64, u64);
type SetSge = unsafe extern "C-unwind" fn(*mut ibv_qp_ex, u32, u64, u32);
type SetSges = unsafe extern "C-unwind" fn(*mut ibv_qp_ex, usize, *const ibv_sge);

/// A program asked for a queue pair in this form.
pub fn given(qp: *mut ibv_qp_ex) {
    if qp.is_null() || watch::is_forked_child() {
        return;
    }
    // SAFETY: libibverbs's answer, the program's queue pair.
    let (base, qp) = unsafe { (&(*qp).qp_base, &*qp) };
    let Some(known) = context::find(base.context) else {
        return;
    };
    let counted = post::is_in_order(base.qp_type);
    let Some(queues) = queues::of(base.context, u64::from(base.qp_num), counted) else {
        known.lose_sight();
        return;
    };
    let old = &queues.driver_ops;
    queues.send.order.lock();
    for (place, new, old) in [
        (
            &qp.wr_atomic_cmp_swp,
            swap as *mut c_void,
            &old.wr_atomic_cmp_swp,
        ),
        (
            &qp.wr_atomic_fetch_add,
            add as *mut c_void,
            &old.wr_atomic_fetch_add,
        ),
        (&qp.wr_rdma_read, read as *mut c_void, &old.wr_rdma_read),
        (&qp.wr_set_sge, set_sge as *mut c_void, &old.wr_set_sge),
        (
            &qp.wr_set_sge_list,
            set_sges as *mut c_void,
            &old.wr_set_sge_list,
        ),
        (&qp.wr_start, start as *mut c_void, &old.wr_start),
        (&qp.wr_complete, complete as *mut c_void, &old.wr_complete),
        (&qp.wr_abort, abort as *mut c_void, &old.wr_abort),
    ] {
        exchange(place, new, old);
    }
    queues.send.order.unlock();
}

/// The driver's function of a queue pair; in an `unsafe` block that says why it
/// may be called. What is in the slot has the type, as the driver put it there.
macro_rules! driver {
    ($queues:expr, $slot:ident, $type:ty) => {
        transmute::<*mut c_void, $type>($queues.driver_ops.$slot.load(Ordering::Relaxed))
    };
}

/// The queues of a queue pair whose functions were exchanged: they stay until
/// it is destroyed.
fn queues(qp: *mut ibv_qp_ex) -> &'static queues::Queues {
    queues::of_extended(qp).expect("a queue pair that is in use is known")
}

unsafe extern "C" fn start(qp: *mut ibv_qp_ex) {
    let queues = queues(qp);
    if !watch::is_forked_child() {
        queues.send.order.lock();
        queues.driver_ops.forget();
    }
    // SAFETY: the program's.
    held_off(|| unsafe { driver!(queues, wr_start, Of)(qp) });
}

/// A request begins that writes to local memory.
fn begin(queues: &queues::Queues) {
    if watch::is_forked_child() {
        return;
    }
    let place = queues.send.place();
    queues
        .driver_ops
        .current
        .store(place + 1, Ordering::Relaxed);
    queues.driver_ops.taken.fetch_add(1, Ordering::Relaxed);
}

unsafe extern "C-unwind" fn read(qp: *mut ibv_qp_ex, rkey: u32, addr: u64) {
    let queues = queues(qp);
    begin(queues);
    // SAFETY: the program's.
    unsafe { driver!(queues, wr_rdma_read, Read)(qp, rkey, addr) }
}

unsafe extern "C-unwind" fn add(qp: *mut ibv_qp_ex, rkey: u32, addr: u64, value: u64) {
    let queues = queues(qp);
    begin(queues);
    // SAFETY: the program's.
    unsafe { driver!(queues, wr_atomic_fetch_add, Add)(qp, rkey, addr, value) }
}

unsafe extern "C-unwind" fn swap(
    qp: *mut ibv_qp_ex,
    rkey: u32,
    addr: u64,
    compare: u64,
    value: u64,
) {
    let queues = queues(qp);
    begin(queues);
    // SAFETY: the program's.
    unsafe { driver!(queues, wr_atomic_cmp_swp, Swap)(qp, rkey, addr, compare, value) }
}

/// The request that is being made names these keys. One that does not write,
/// after one that does, is taken for that: which began it is not looked at.
fn note(qp: *mut ibv_qp_ex, queues: &queues::Queues, keys: impl Iterator<Item = u32>) {
    if watch::is_forked_child() {
        return;
    }
    // SAFETY: the program's queue pair.
    let context = unsafe { (*qp).qp_base.context };
    let named = context::find(context).is_some_and(|known| known.sight() == Sight::Named);
    let current = queues.driver_ops.current.load(Ordering::Relaxed);
    for key in keys {
        if let Some(place) = current.checked_sub(1) {
            post::write(context, key, Some(Posted::at(queues, true, place)));
        } else if named {
            keys::name_one(context, key);
        }
    }
}

unsafe extern "C-unwind" fn set_sge(qp: *mut ibv_qp_ex, lkey: u32, addr: u64, length: u32) {
    let queues = queues(qp);
    note(qp, queues, std::iter::once(lkey));
    // SAFETY: the program's.
    unsafe { driver!(queues, wr_set_sge, SetSge)(qp, lkey, addr, length) }
}

unsafe extern "C-unwind" fn set_sges(qp: *mut ibv_qp_ex, number: usize, list: *const ibv_sge) {
    let queues = queues(qp);
    if number != 0 {
        // SAFETY: so many, says the program.
        let list = unsafe { std::slice::from_raw_parts(list, number) };
        note(qp, queues, list.iter().map(|sge| sge.lkey));
    }
    // SAFETY: the program's.
    unsafe { driver!(queues, wr_set_sge_list, SetSges)(qp, number, list) }
}

/// Nothing since `wr_start` was posted.
fn none_posted(queues: &queues::Queues) {
    let taken = queues.driver_ops.taken.load(Ordering::Relaxed);
    queues.send.refused(taken);
}

unsafe extern "C" fn complete(qp: *mut ibv_qp_ex) -> c_int {
    let queues = queues(qp);
    // SAFETY: the program's.
    let error = held_off(|| unsafe { driver!(queues, wr_complete, Complete)(qp) });
    if !watch::is_forked_child() {
        if error != 0 {
            none_posted(queues);
        }
        queues.send.order.unlock();
    }
    error
}

unsafe extern "C" fn abort(qp: *mut ibv_qp_ex) {
    let queues = queues(qp);
    // SAFETY: the program's.
    held_off(|| unsafe { driver!(queues, wr_abort, Of)(qp) });
    if !watch::is_forked_child() {
        none_posted(queues);
        queues.send.order.unlock();
    }
}
