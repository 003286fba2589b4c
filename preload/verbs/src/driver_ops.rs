// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a queue pair that work is posted to in pieces keeps: the driver's
//! functions, which `qp_ex` stands in the place of.

use crate::abi::Slot;
use std::sync::atomic::{AtomicU64, Ordering};

/// The driver's functions for one queue pair, and what is being posted.
#[derive(Default)]
pub struct DriverOps {
    pub wr_atomic_cmp_swp: Slot,
    pub wr_atomic_fetch_add: Slot,
    pub wr_rdma_read: Slot,
    pub wr_set_sge: Slot,
    pub wr_set_sge_list: Slot,
    pub wr_start: Slot,
    pub wr_complete: Slot,
    pub wr_abort: Slot,
    /// Places taken since `wr_start`. Both under `order`.
    pub taken: AtomicU64,
    /// Of the request that is being made, 1 more than its place; 0: it does not
    /// write to local memory.
    pub current: AtomicU64,
}

impl DriverOps {
    /// The next queue pair here has others.
    pub fn forget(&self) {
        self.taken.store(0, Ordering::Relaxed);
        self.current.store(0, Ordering::Relaxed);
    }
}
