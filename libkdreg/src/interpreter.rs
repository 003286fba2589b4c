// SPDX-License-Identifier: MIT OR Apache-2.0
//! An interpreter that ends before its process does.
//!
//! CPython takes itself down and calls `exit` some time later. What it gave out as
//! C functions (ctypes, cffi) cannot be called in between: before 3.14 a thread
//! that comes while it ends is ended, and one that comes after that crashes. A
//! program that destroys its caches first does not meet this; many do not. So the
//! reaper asks whether there was an interpreter and it has begun to end, and then
//! leaves the process some time to go.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

/// `Py_IsInitialized`, where there is one.
static IS_INITIALIZED: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

/// Looks whether there is an interpreter in this process. By a thread that makes
/// a cache, not by one of the library's: the dynamic loader's lock may be held by
/// the former, and then for long.
pub(crate) fn look() {
    // SAFETY: reads a C string.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"Py_IsInitialized".as_ptr()) };
    if !found.is_null() {
        // Relaxed: an address that was valid before any thread of this library's.
        IS_INITIALIZED.store(found, Ordering::Relaxed);
    }
}

/// Whether there was an interpreter, and it has begun to end.
pub(crate) fn has_ended() -> bool {
    let function = IS_INITIALIZED.load(Ordering::Relaxed);
    if function.is_null() {
        return false;
    }
    // SAFETY: this is `int Py_IsInitialized(void)`, which any thread may call at any
    // time (Python/C API, Initialization): it reads a word. The interpreter is a
    // program or a library that is never unloaded.
    let is_initialized =
        unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> c_int>(function) };
    // SAFETY: as above.
    unsafe { is_initialized() == 0 }
}
