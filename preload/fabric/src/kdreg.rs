// SPDX-License-Identifier: MIT OR Apache-2.0
//! The part of `kdreg.h` and `kdreg/fabric.h` that is used here.

#![allow(non_camel_case_types, reason = "these are the names of the headers")]

use std::ffi::{c_char, c_int, c_void};

/// `kdreg_fabric_t`.
pub enum kdreg_fabric_t {}

/// `struct kdreg_fabric_stats`.
#[repr(C)]
#[derive(Default)]
pub struct kdreg_fabric_stats {
    pub size: usize,
    pub starts: u64,
    pub subscriptions: u64,
    pub unwatched: u64,
    pub hits: u64,
    pub stale: u64,
    pub notifications: u64,
    pub ranges: u64,
}

// Linked by build.rs.
unsafe extern "C" {
    pub fn kdreg_fabric_import(attr: *const c_void, out: *mut *mut kdreg_fabric_t) -> c_int;
    pub fn kdreg_fabric_stats(import: *mut kdreg_fabric_t, stats: *mut kdreg_fabric_stats)
    -> c_int;
    pub fn kdreg_strerror(error: c_int) -> *const c_char;
}
