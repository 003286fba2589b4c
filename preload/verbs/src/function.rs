// SPDX-License-Identifier: MIT OR Apache-2.0
//! Functions of libibverbs, behind the names that this library puts before it.

use crate::{errno, log};
use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

/// A function of libibverbs that is found when it is first called.
pub struct Function {
    name: &'static CStr,
    version: &'static CStr,
    /// Acquire and Release are not needed: it points to code, which was
    /// published by the loader.
    found: AtomicPtr<c_void>,
}

impl Function {
    pub const fn new(name: &'static CStr, version: &'static CStr) -> Function {
        Function {
            name,
            version,
            found: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    pub fn get(&self) -> Option<*mut c_void> {
        let known = self.found.load(Ordering::Relaxed);
        if !known.is_null() {
            return Some(known);
        }
        // SAFETY: C strings. RTLD_NEXT: what the caller would have got without
        // this library.
        let mut found =
            unsafe { libc::dlvsym(libc::RTLD_NEXT, self.name.as_ptr(), self.version.as_ptr()) };
        if found.is_null() {
            // A plugin that was opened RTLD_LOCAL brought libibverbs along: it
            // is loaded, but in no scope that RTLD_NEXT looks into.
            // SAFETY: C strings; RTLD_NOLOAD loads nothing.
            found = unsafe {
                let flags = libc::RTLD_NOW | libc::RTLD_NOLOAD;
                let library = libc::dlopen(c"libibverbs.so.1".as_ptr(), flags);
                if library.is_null() {
                    library
                } else {
                    libc::dlvsym(library, self.name.as_ptr(), self.version.as_ptr())
                }
            };
        }
        self.found.store(found, Ordering::Relaxed);
        (!found.is_null()).then_some(found)
    }

    /// For a function that was called, and so must be there.
    pub fn require(&self) -> Option<*mut c_void> {
        let found = self.get();
        if found.is_none() {
            log::once(format_args!(
                "libibverbs.so.1 is not loaded or has no {}@{}: link the program with it, or \
                 leave libkdreg-verbs.so out of LD_PRELOAD",
                self.name.to_string_lossy(),
                self.version.to_string_lossy()
            ));
            errno::set_errno(libc::ENOSYS);
        }
        found
    }
}
