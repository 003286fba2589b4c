// SPDX-License-Identifier: MIT OR Apache-2.0
//! The callbacks of a C caller, as a cache's registrar.

use crate::cache::{Handle, Registrar};
use crate::errno::Errno;
use crate::log::{self, Level};
use crate::monitor::Needs;
use crate::range::Range;
use crate::unwinding::{self, call_int};
use std::ffi::{c_int, c_void};

/// The caller's callbacks.
pub(super) struct Callbacks {
    pub register:
        unsafe extern "C" fn(*mut c_void, *mut c_void, usize, u32, *mut *mut c_void) -> c_int,
    pub deregister: unsafe extern "C" fn(*mut c_void, *mut c_void, usize, *mut c_void) -> c_int,
    pub ctx: *mut c_void,
}

// SAFETY: the caller of kdreg_cache_create is told that the callbacks are
// called, with their context, by any thread.
unsafe impl Send for Callbacks {}
// SAFETY: as above.
unsafe impl Sync for Callbacks {}

impl Registrar for Callbacks {
    fn needs(&self, access: u32) -> Needs {
        Needs::of_access(access)
    }

    fn register(&self, range: Range, access: u32) -> Result<Handle, Errno> {
        let mut handle: *mut c_void = std::ptr::null_mut();
        let arguments = [
            self.ctx as usize,
            range.start(),
            range.len(),
            access as usize,
            &raw mut handle as usize,
        ];
        // SAFETY: the caller's function, called as its type says.
        match unsafe { call_int(self.register as *const c_void, arguments) } {
            Ok(0) => Ok(Handle(handle as usize)),
            // A positive value is not what was agreed on, but an error surely.
            Ok(error) => Err(Errno::new(error.saturating_abs())),
            Err(escape) => {
                unwinding::hold(escape);
                Err(Errno::ESCAPED)
            }
        }
    }

    fn deregister(&self, range: Range, handle: Handle) {
        let arguments = [self.ctx as usize, range.start(), range.len(), handle.0, 0];
        // SAFETY: as above; the handle is one that `register` gave.
        match unsafe { call_int(self.deregister as *const c_void, arguments) } {
            Ok(0) => {}
            Ok(result) => {
                let error = Errno::new(result.saturating_abs());
                log::say(
                    Level::Warn,
                    format_args!(
                        "deregistering {range:?} failed, its memory may stay pinned: {error}"
                    ),
                );
            }
            Err(escape) => unwinding::hold(escape),
        }
    }
}
