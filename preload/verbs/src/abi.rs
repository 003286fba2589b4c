// SPDX-License-Identifier: MIT OR Apache-2.0
//! The public parts of libibverbs's structures, as <infiniband/verbs.h> lays
//! them out. ctest/verbs/layout.c compares.

#![allow(non_camel_case_types, reason = "the names of <infiniband/verbs.h>")]

use std::ffi::{c_int, c_uint, c_void};
use std::sync::atomic::AtomicPtr;

/// A function of libibverbs or a driver, in a structure of its own.
pub type Slot = AtomicPtr<c_void>;

/// Of its 32 functions, those looked at here. Programs call them through the
/// header's inline functions.
#[repr(C)]
pub struct ibv_context_ops {
    _before_poll: [*mut c_void; 11],
    pub poll_cq: Slot,
    _before_srq: [*mut c_void; 8],
    pub post_srq_recv: Slot,
    _before_send: [*mut c_void; 4],
    pub post_send: Slot,
    pub post_recv: Slot,
    _after: [*mut c_void; 5],
}

#[repr(C)]
pub struct ibv_context {
    pub device: *mut c_void,
    pub ops: ibv_context_ops,
    _fds: [c_int; 3],
    _mutex: libc::pthread_mutex_t,
    /// `EXTENDED` when it is the end of a `verbs_context`.
    pub abi_compat: usize,
}

pub const EXTENDED: usize = usize::MAX;

/// The last part of `struct verbs_context`, which grows at its beginning.
#[repr(C)]
pub struct verbs_context {
    /// Receive buffers for tag matching, among others.
    pub post_srq_ops: Slot,
    _indirection: [*mut c_void; 2],
    _wq: [*mut c_void; 2],
    /// Makes a work queue, whose `post_recv` is its own.
    pub create_wq: Slot,
    _before_sz: [*mut c_void; 15],
    /// How large the whole structure is.
    pub sz: usize,
    pub context: ibv_context,
}

#[repr(C)]
pub struct ibv_pd {
    pub context: *mut ibv_context,
    pub handle: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ibv_mr {
    pub context: *mut ibv_context,
    pub pd: *mut ibv_pd,
    pub addr: *mut c_void,
    pub length: usize,
    pub handle: u32,
    pub lkey: u32,
    pub rkey: u32,
}

#[repr(C)]
pub struct ibv_cq {
    pub context: *mut ibv_context,
}

#[repr(C)]
pub struct ibv_srq {
    pub context: *mut ibv_context,
    _srq_context: *mut c_void,
    _pd: *mut ibv_pd,
    pub handle: u32,
}

#[repr(C)]
pub struct ibv_qp {
    pub context: *mut ibv_context,
    _qp_context: *mut c_void,
    _pd: *mut ibv_pd,
    _cqs: [*mut ibv_cq; 2],
    pub srq: *mut ibv_srq,
    _handle: u32,
    pub qp_num: u32,
    _state: c_int,
    pub qp_type: c_int,
    _mutex: libc::pthread_mutex_t,
    _cond: libc::pthread_cond_t,
    _events_completed: u32,
}

pub const QPT_RC: c_int = 2;
pub const QPT_UC: c_int = 3;
pub const QPT_UD: c_int = 4;

/// A queue pair that work is posted to in pieces.
#[repr(C)]
pub struct ibv_qp_ex {
    pub qp_base: ibv_qp,
    _comp_mask: u64,
    _wr_id: u64,
    _wr_flags: c_uint,
    pub wr_atomic_cmp_swp: Slot,
    pub wr_atomic_fetch_add: Slot,
    _binds: [*mut c_void; 2],
    pub wr_rdma_read: Slot,
    _writes_and_sends: [*mut c_void; 10],
    pub wr_set_sge: Slot,
    pub wr_set_sge_list: Slot,
    pub wr_start: Slot,
    pub wr_complete: Slot,
    pub wr_abort: Slot,
}

#[repr(C)]
pub struct ibv_sge {
    _addr: u64,
    _length: u32,
    pub lkey: u32,
}

#[repr(C)]
pub struct ibv_recv_wr {
    _wr_id: u64,
    pub next: *mut ibv_recv_wr,
    pub sg_list: *mut ibv_sge,
    pub num_sge: c_int,
}

#[repr(C)]
pub struct ibv_send_wr {
    _wr_id: u64,
    pub next: *mut ibv_send_wr,
    pub sg_list: *mut ibv_sge,
    pub num_sge: c_int,
    pub opcode: c_int,
}

pub const WR_RDMA_READ: c_int = 4;
pub const WR_ATOMIC_CMP_AND_SWP: c_int = 5;
pub const WR_ATOMIC_FETCH_AND_ADD: c_int = 6;

#[repr(C)]
pub struct ibv_wc {
    _wr_id: u64,
    pub status: c_int,
    pub opcode: c_int,
    _vendor_err: u32,
    _byte_len: u32,
    _imm_data: u32,
    pub qp_num: u32,
    _after: [u32; 4],
}

pub const WC_SUCCESS: c_int = 0;
pub const WC_RDMA_READ: c_int = 2;
pub const WC_COMP_SWAP: c_int = 3;
pub const WC_FETCH_ADD: c_int = 4;
pub const WC_RECV: c_int = 1 << 7;
pub const WC_RECV_RDMA_WITH_IMM: c_int = WC_RECV + 1;

pub const ACCESS_LOCAL_WRITE: u32 = 1;
pub const ACCESS_REMOTE_WRITE: u32 = 1 << 1;
pub const ACCESS_REMOTE_READ: u32 = 1 << 2;
pub const ACCESS_REMOTE_ATOMIC: u32 = 1 << 3;
pub const ACCESS_FLUSH_GLOBAL: u32 = 1 << 8;
pub const ACCESS_FLUSH_PERSISTENT: u32 = 1 << 9;
pub const ACCESS_RELAXED_ORDERING: u32 = 1 << 20;
/// Flags that a kernel may leave out.
pub const ACCESS_OPTIONAL: u32 = 0x3ff0_0000;
/// What peers may do with a registration, by its key.
pub const ACCESS_REMOTE: u32 = ACCESS_REMOTE_WRITE
    | ACCESS_REMOTE_READ
    | ACCESS_REMOTE_ATOMIC
    | ACCESS_FLUSH_GLOBAL
    | ACCESS_FLUSH_PERSISTENT;
