// SPDX-License-Identifier: MIT OR Apache-2.0
//! The libfabric that the process has loaded.

use std::ffi::{CStr, c_char, c_int, c_void};

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
