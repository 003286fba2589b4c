// SPDX-License-Identifier: MIT OR Apache-2.0
//! libfabric, opened at run time: libkdreg.so does not depend on it.

use super::abi::{OpenFn, VersionFn};
use crate::adaptors::loader::{self, Text};
use crate::errno::Errno;
use crate::log::{self, Level};
use std::ffi::{CStr, c_void};

/// The name under which every release since 1.0 is found.
pub const SONAME: &CStr = c"libfabric.so.1";

/// An open libfabric. Stays open, and so mapped, until this is dropped.
pub struct Library {
    handle: *mut c_void,
    version: VersionFn,
    pub(super) open: OpenFn,
}

// SAFETY: the handle is only given to dlclose, which any thread may call; the
// functions are libfabric's own, which are thread-safe.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    /// The libfabric that the process has, or else the one that the dynamic
    /// loader finds as `name`.
    ///
    /// # Errors
    /// `ELIBACC` when there is none, with the loader's reason in the log; `ENOMEM`.
    pub fn open(name: &CStr) -> Result<Library, Errno> {
        // SAFETY: loads a library by name; its constructors are libfabric's,
        // which only define parameters.
        let handle = loader::open(|| unsafe {
            libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL)
        });
        if handle.is_null() {
            return Err(unusable(name));
        }
        let library = (|| {
            let version = symbol(handle, c"fi_version")?;
            let open = symbol(handle, c"fi_open")?;
            Some(Library {
                handle,
                // SAFETY: fi_version has this type since libfabric 1.0.
                version: unsafe { std::mem::transmute::<*mut c_void, VersionFn>(version) },
                // SAFETY: fi_open has this type since it exists.
                open: unsafe { std::mem::transmute::<*mut c_void, OpenFn>(open) },
            })
        })();
        library.ok_or_else(|| {
            let error = unusable(name);
            // SAFETY: opened above, and nothing of it is kept.
            unsafe { libc::dlclose(handle) };
            error
        })
    }

    /// Major and minor release, as `FI_VERSION` packs them.
    pub fn version(&self) -> u32 {
        // SAFETY: takes nothing, returns a constant.
        unsafe { (self.version)() }
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: from dlopen, closed once; whoever drops this has ended what
        // libfabric knew of it.
        unsafe { libc::dlclose(self.handle) };
    }
}

fn symbol(handle: *mut c_void, name: &CStr) -> Option<*mut c_void> {
    // SAFETY: an open handle and a C string.
    let address = unsafe { libc::dlsym(handle, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}

/// Says why the dynamic loader refused.
fn unusable(name: &CStr) -> Errno {
    loader::refused(|reason| {
        log::say(
            Level::Error,
            format_args!(
                "cannot use {}: {reason}. Install libfabric 1.13 or newer (Debian: libfabric1), \
                 or say where it is in LD_LIBRARY_PATH",
                Text::from(name)
            ),
        );
        Errno::ELIBACC
    })
}
