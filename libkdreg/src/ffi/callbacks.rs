// SPDX-License-Identifier: MIT OR Apache-2.0
//! The callbacks of a C caller, as a cache's registrar.

use super::cache::kdreg_cache_attr;
use crate::cache::{Handle, Registrar, Registration};
use crate::errno::Errno;
use crate::log::{self, Level};
use crate::monitor::Needs;
use crate::range::Range;
use crate::unwinding::{self, call_int};
use std::ffi::{c_int, c_void};

/// kdreg_registration.flags: more is asked for than the cache was asked for (merged with
/// neighbours, or widened); where this fails, less is asked for at once. So a failure
/// is no reason to say anything.
pub const KDREG_REGISTRATION_SPECULATIVE: u32 = 1u32;

/// What is to be registered, or undone. The library's; valid during the call only.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kdreg_registration {
    /// sizeof(struct kdreg_registration) in the library that runs: members beyond it are not
    /// there.
    pub size: usize,
    /// The first byte of the range.
    pub addr: *mut c_void,
    /// Its length in bytes.
    pub length: usize,
    /// The rights, KDREG_ACCESS_*.
    pub access: u32,
    /// KDREG_REGISTRATION_*.
    pub flags: u32,
    /// kdreg_get_attr.arg of the call that has it registered; NULL for other calls, and
    /// when it is undone.
    pub arg: *mut c_void,
    /// The caller's bytes in the entry, kdreg_cache_attr.entry_size of them, all zero when
    /// it is registered; NULL where that is 0.
    pub data: *mut c_void,
    /// The caller's name for the registration: NULL, for `reg_with` to fill in; for
    /// `dereg_with`, what that stored.
    pub handle: *mut c_void,
}

/// As kdreg_register_fn, in all that is said there; stores the caller's name for the
/// registration in `registration->handle`.
pub type kdreg_register_with_fn =
    Option<unsafe extern "C" fn(ctx: *mut c_void, registration: *mut kdreg_registration) -> c_int>;

/// As kdreg_deregister_fn, in all that is said there.
pub type kdreg_deregister_with_fn = Option<
    unsafe extern "C" fn(ctx: *mut c_void, registration: *const kdreg_registration) -> c_int,
>;

/// A callback of the caller's, in one of its forms.
#[derive(Clone, Copy)]
enum Form {
    /// With each argument by itself.
    Apart(*const c_void),
    /// With a structure.
    Together(*const c_void),
}

/// The caller's callbacks.
pub(super) struct Callbacks {
    register: Form,
    deregister: Form,
    ctx: *mut c_void,
}

// SAFETY: the caller of kdreg_cache_create is told that the callbacks are
// called, with their context, by any thread.
unsafe impl Send for Callbacks {}
// SAFETY: as above.
unsafe impl Sync for Callbacks {}

impl Callbacks {
    /// What `attr` has; `EINVAL` where one is missing.
    pub fn of(attr: &kdreg_cache_attr) -> Result<Callbacks, Errno> {
        let register = match (attr.reg_with, attr.reg) {
            (Some(with), _) => Form::Together(with as *const c_void),
            (None, Some(reg)) => Form::Apart(reg as *const c_void),
            (None, None) => return Err(Errno::EINVAL),
        };
        let deregister = match (attr.dereg_with, attr.dereg) {
            (Some(with), _) => Form::Together(with as *const c_void),
            (None, Some(dereg)) => Form::Apart(dereg as *const c_void),
            (None, None) => return Err(Errno::EINVAL),
        };
        Ok(Callbacks {
            register,
            deregister,
            ctx: attr.ctx,
        })
    }
}

/// What a callback is told.
fn told(registration: &Registration, handle: usize) -> kdreg_registration {
    kdreg_registration {
        size: size_of::<kdreg_registration>(),
        addr: registration.range.start() as *mut c_void,
        length: registration.range.len(),
        access: registration.access,
        flags: match registration.speculative {
            true => KDREG_REGISTRATION_SPECULATIVE,
            false => 0,
        },
        arg: registration.arg as *mut c_void,
        data: registration.data.cast(),
        handle: handle as *mut c_void,
    }
}

impl Registrar for Callbacks {
    fn needs(&self, access: u32) -> Needs {
        Needs::of_access(access)
    }

    fn register(&self, range: Range, access: u32) -> Result<Handle, Errno> {
        self.register_with(&Registration {
            range,
            access,
            arg: 0,
            speculative: false,
            data: std::ptr::null_mut(),
        })
    }

    fn deregister(&self, range: Range, handle: Handle) {
        let registration = Registration {
            range,
            access: 0,
            arg: 0,
            speculative: false,
            data: std::ptr::null_mut(),
        };
        self.deregister_with(&registration, handle);
    }

    fn register_with(&self, registration: &Registration) -> Result<Handle, Errno> {
        let range = registration.range;
        let (called, handle) = match self.register {
            Form::Apart(function) => {
                let mut handle: *mut c_void = std::ptr::null_mut();
                let arguments = [
                    self.ctx as usize,
                    range.start(),
                    range.len(),
                    registration.access as usize,
                    &raw mut handle as usize,
                ];
                // SAFETY: the caller's function, called as its type says.
                let called = unsafe { call_int(function, arguments) };
                (called, handle)
            }
            Form::Together(function) => {
                let mut told = told(registration, 0);
                let arguments = [self.ctx as usize, &raw mut told as usize, 0, 0, 0];
                // SAFETY: as above.
                let called = unsafe { call_int(function, arguments) };
                (called, told.handle)
            }
        };
        match called {
            Ok(0) => Ok(Handle(handle as usize)),
            // A positive number counts as the errno of that number.
            Ok(error) => Err(Errno::new(error.saturating_abs())),
            Err(escape) => {
                unwinding::hold(escape);
                Err(Errno::ESCAPED)
            }
        }
    }

    fn deregister_with(&self, registration: &Registration, handle: Handle) {
        let range = registration.range;
        let called = match self.deregister {
            Form::Apart(function) => {
                let arguments = [self.ctx as usize, range.start(), range.len(), handle.0, 0];
                // SAFETY: as above; the handle is one that `register` gave.
                unsafe { call_int(function, arguments) }
            }
            Form::Together(function) => {
                let told = told(registration, handle.0);
                let arguments = [self.ctx as usize, &raw const told as usize, 0, 0, 0];
                // SAFETY: as above.
                unsafe { call_int(function, arguments) }
            }
        };
        match called {
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
