// SPDX-License-Identifier: MIT OR Apache-2.0
//! libkdreg-fabric.so: by LD_PRELOAD, libkdreg is the memory monitor of the
//! libfabric that an unmodified program uses.
//!
//! It stands in front of `fi_getinfo`, which every such program calls first:
//! by its return libfabric is initialised, and no domain can be open yet. The
//! first call imports the monitor; nothing else is touched. When the import
//! fails, libkdreg says why (KDREG_LOG), and the program goes on as without.
//!
//! `KDREG_FABRIC_STATS=1` prints a line on standard error when the program ends.
//! Without it, one is printed when libfabric was there and its `fi_getinfo` was
//! not seen to be called (`KDREG_LOG`: at warn).

mod kdreg;
mod statistics;
mod versions;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

/// `fi_getinfo`. The structures differ from version to version; they are only
/// passed on. A thread that is cancelled in it is unwound through its caller,
/// which must have nothing in hand.
pub(crate) type GetInfo = unsafe extern "C-unwind" fn(
    version: u32,
    node: *const c_char,
    service: *const c_char,
    flags: u64,
    hints: *const c_void,
    info: *mut *mut c_void,
) -> c_int;

/// libfabric's `fi_getinfo` of one symbol version.
pub(crate) fn real(symbol_version: &CStr) -> Option<GetInfo> {
    // A program or a plugin that was opened with RTLD_LOCAL keeps its libfabric
    // where RTLD_NEXT does not look. It is there: its function was called.
    let handle = loaded().unwrap_or(libc::RTLD_NEXT);
    // SAFETY: an open handle and C strings.
    let address = unsafe { libc::dlvsym(handle, c"fi_getinfo".as_ptr(), symbol_version.as_ptr()) };
    if address.is_null() {
        return None;
    }
    // SAFETY: fi_getinfo has had this type in each of its versions.
    Some(unsafe { std::mem::transmute::<*mut c_void, GetInfo>(address) })
}

/// The process's libfabric, if it has one.
pub(crate) fn loaded() -> Option<*mut c_void> {
    // SAFETY: opens nothing new, and only adds a reference, which is kept.
    let handle = unsafe {
        libc::dlopen(
            c"libfabric.so.1".as_ptr(),
            libc::RTLD_NOW | libc::RTLD_NOLOAD,
        )
    };
    (!handle.is_null()).then_some(handle)
}

/// Whether a call was seen.
pub(crate) fn was_called() -> bool {
    DONE.load(Ordering::Relaxed)
}

/// Relaxed: only one caller may see `false`. Another thread whose first
/// fi_getinfo returns meanwhile may open its domain before the import: then
/// libfabric refuses, and libkdreg says so.
static DONE: AtomicBool = AtomicBool::new(false);

/// Imports libkdreg, in the first call of a process.
pub(crate) fn import_once() {
    if DONE.swap(true, Ordering::Relaxed) {
        return;
    }
    let mut import = std::ptr::null_mut();
    // SAFETY: no options, and a place for the result.
    let error = unsafe { kdreg::kdreg_fabric_import(std::ptr::null(), &raw mut import) };
    statistics::imported(import, error);
}
