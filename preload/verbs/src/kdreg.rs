// SPDX-License-Identifier: MIT OR Apache-2.0
//! The part of kdreg.h that is used here. libkdreg.so is linked, not compiled
//! in: all that a process has loaded must share one monitor.

#![allow(non_camel_case_types, reason = "the names of kdreg.h")]

use std::ffi::{c_char, c_int, c_void};

#[repr(C)]
pub struct kdreg_t {
    _opaque: [u8; 0],
}
#[repr(C)]
pub struct kdreg_cache_t {
    _opaque: [u8; 0],
}
#[repr(C)]
pub struct kdreg_entry_t {
    _opaque: [u8; 0],
}

pub const KDREG_ACCESS_READ: u32 = 1;
pub const KDREG_CACHE_NO_MERGE: u32 = 1;

pub type Register =
    unsafe extern "C" fn(*mut c_void, *mut c_void, usize, u32, *mut *mut c_void) -> c_int;
pub type Deregister = unsafe extern "C" fn(*mut c_void, *mut c_void, usize, *mut c_void) -> c_int;

#[repr(C)]
pub struct kdreg_cache_attr {
    pub size: usize,
    pub reg: Option<Register>,
    pub dereg: Option<Deregister>,
    pub ctx: *mut c_void,
    pub max_entries: usize,
    pub max_bytes: usize,
    pub max_unreleased: usize,
    pub alignment: usize,
    pub max_merge: usize,
    pub flags: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct kdreg_cache_stats {
    pub size: usize,
    pub hits: u64,
    pub misses: u64,
    pub registrations: u64,
    pub register_failures: u64,
    pub deregistrations: u64,
    pub merges: u64,
    pub evictions: u64,
    pub invalidations: u64,
    pub uncached: u64,
    pub duplicates: u64,
    pub entries: u64,
    pub bytes: u64,
    pub in_use: u64,
    pub unreleased_bytes: u64,
}

unsafe extern "C" {
    pub fn kdreg_open(attr: *const c_void, out: *mut *mut kdreg_t) -> c_int;
    pub fn kdreg_backend_name(monitor: *mut kdreg_t) -> *const c_char;
    pub fn kdreg_strerror(error: c_int) -> *const c_char;
    pub fn kdreg_cache_create(
        monitor: *mut kdreg_t,
        attr: *const kdreg_cache_attr,
        out: *mut *mut kdreg_cache_t,
    ) -> c_int;
    pub fn kdreg_cache_destroy(cache: *mut kdreg_cache_t) -> c_int;
    pub fn kdreg_cache_get(
        cache: *mut kdreg_cache_t,
        addr: *const c_void,
        length: usize,
        access: u32,
        out: *mut *mut kdreg_entry_t,
    ) -> c_int;
    pub fn kdreg_cache_put(cache: *mut kdreg_cache_t, entry: *mut kdreg_entry_t) -> c_int;
    pub fn kdreg_cache_invalidate(
        cache: *mut kdreg_cache_t,
        addr: *const c_void,
        length: usize,
    ) -> c_int;
    pub fn kdreg_cache_flush(cache: *mut kdreg_cache_t) -> c_int;
    pub fn kdreg_cache_stats(cache: *mut kdreg_cache_t, stats: *mut kdreg_cache_stats) -> c_int;
    pub fn kdreg_entry_base(entry: *const kdreg_entry_t) -> *mut c_void;
    pub fn kdreg_entry_length(entry: *const kdreg_entry_t) -> usize;
    pub fn kdreg_entry_handle(entry: *const kdreg_entry_t) -> *mut c_void;
}
