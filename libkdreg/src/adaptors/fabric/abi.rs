// SPDX-License-Identifier: MIT OR Apache-2.0
//! The few structures of libfabric's public ABI that importing a memory
//! monitor takes: those of `rdma/fabric.h` and `rdma/fi_ext.h`, as they have
//! been since 1.13. `ctest/fabric/layout.c` compares them with the headers.

use std::ffi::{c_char, c_int, c_void};

/// `FI_CLASS_MEM_MONITOR`.
pub const CLASS_MEM_MONITOR: usize = 23;

/// What libfabric calls a version: `FI_VERSION(major, minor)`.
pub const fn version(major: u32, minor: u32) -> u32 {
    major << 16 | minor
}

/// `struct fid`.
#[repr(C)]
pub struct Fid {
    pub fclass: usize,
    pub context: *mut c_void,
    pub ops: *const FidOps,
}

/// The beginning of `struct fi_ops`; the functions behind `bind` are not called.
#[repr(C)]
pub struct FidOps {
    pub size: usize,
    pub close: Option<unsafe extern "C" fn(fid: *mut Fid) -> c_int>,
    pub bind: Option<unsafe extern "C" fn(fid: *mut Fid, with: *mut Fid, flags: u64) -> c_int>,
}

/// `struct fi_ops_mem_monitor`: what a monitor offers to libfabric.
#[repr(C)]
pub struct MonitorOps {
    pub size: usize,
    pub start: unsafe extern "C" fn(monitor: *mut MonitorFid) -> c_int,
    pub stop: unsafe extern "C" fn(monitor: *mut MonitorFid),
    pub subscribe: unsafe extern "C" fn(*mut MonitorFid, addr: *const c_void, len: usize) -> c_int,
    pub unsubscribe: unsafe extern "C" fn(*mut MonitorFid, addr: *const c_void, len: usize),
    pub valid: unsafe extern "C" fn(*mut MonitorFid, addr: *const c_void, len: usize) -> bool,
}

/// `struct fi_ops_mem_notify`: what libfabric offers to a monitor.
#[repr(C)]
pub struct NotifyOps {
    pub size: usize,
    pub notify: Option<unsafe extern "C" fn(*mut MonitorFid, addr: *const c_void, len: usize)>,
}

/// `struct fid_mem_monitor`.
#[repr(C)]
pub struct MonitorFid {
    pub fid: Fid,
    pub export_ops: *const MonitorOps,
    pub import_ops: *const NotifyOps,
}

/// `fi_version`.
pub type VersionFn = unsafe extern "C" fn() -> u32;

/// `fi_open`.
pub type OpenFn = unsafe extern "C" fn(
    version: u32,
    name: *const c_char,
    attr: *mut c_void,
    attr_len: usize,
    flags: u64,
    fid: *mut *mut Fid,
    context: *mut c_void,
) -> c_int;
