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
    /// Which class it is.
    pub fclass: usize,
    /// The owner's.
    pub context: *mut c_void,
    /// What can be done with any object.
    pub ops: *const FidOps,
}

/// The beginning of `struct fi_ops`; the functions behind `bind` are not called.
#[repr(C)]
pub struct FidOps {
    /// The size of this structure.
    pub size: usize,
    /// Ends it.
    pub close: Option<unsafe extern "C" fn(fid: *mut Fid) -> c_int>,
    /// Connects it with another one.
    pub bind: Option<unsafe extern "C" fn(fid: *mut Fid, with: *mut Fid, flags: u64) -> c_int>,
}

/// `struct fi_ops_mem_monitor`: what a monitor offers to libfabric.
#[repr(C)]
pub struct MonitorOps {
    /// The size of this structure.
    pub size: usize,
    /// A first cache needs the monitor.
    pub start: unsafe extern "C" fn(monitor: *mut MonitorFid) -> c_int,
    /// The last cache has gone.
    pub stop: unsafe extern "C" fn(monitor: *mut MonitorFid),
    /// A range entered a cache.
    pub subscribe: unsafe extern "C" fn(*mut MonitorFid, addr: *const c_void, len: usize) -> c_int,
    /// A range left its cache.
    pub unsubscribe: unsafe extern "C" fn(*mut MonitorFid, addr: *const c_void, len: usize),
    /// Whether a range still maps what it did.
    pub valid: unsafe extern "C" fn(*mut MonitorFid, addr: *const c_void, len: usize) -> bool,
}

/// `struct fi_ops_mem_notify`: what libfabric offers to a monitor.
#[repr(C)]
pub struct NotifyOps {
    /// The size of this structure.
    pub size: usize,
    /// Has every cache drop what overlaps a range.
    pub notify: Option<unsafe extern "C" fn(*mut MonitorFid, addr: *const c_void, len: usize)>,
}

/// `struct fid_mem_monitor`.
#[repr(C)]
pub struct MonitorFid {
    /// The object that it is.
    pub fid: Fid,
    /// Filled by the monitor.
    pub export_ops: *const MonitorOps,
    /// Filled by libfabric.
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
