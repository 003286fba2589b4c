// SPDX-License-Identifier: MIT OR Apache-2.0
//! The callbacks of a C caller, as a cache's registrar.

use super::cache_types::*;
use crate::cache::{Departure, Handle, Held, Registrar, Registration};
use crate::errno::Errno;
use crate::log::{self, Level};
use crate::monitor::Needs;
use crate::range::Range;
use crate::unwinding::{self, call_int, call_void};
use std::ffi::c_void;

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
    event: kdreg_cache_event_fn,
    dump: kdreg_dump_fn,
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
            event: attr.event,
            dump: attr.dump,
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

    fn wants_departures(&self) -> bool {
        self.event.is_some()
    }

    fn departed(&self, departure: &Departure) {
        let Some(function) = self.event else { return };
        let event = kdreg_cache_event {
            size: size_of::<kdreg_cache_event>(),
            addr: departure.range.map_or(0, Range::start) as *mut c_void,
            length: departure.range.map_or(0, Range::len),
            access: departure.access,
            cause: departure.cause as u32,
            handle: departure.handle.0 as *mut c_void,
            data: departure.data.cast(),
        };
        let arguments = [self.ctx as usize, &raw const event as usize, 0, 0, 0];
        // SAFETY: the caller's function, called as its type says.
        if let Err(escape) = unsafe { call_void(function as *const c_void, arguments) } {
            unwinding::hold(escape);
        }
    }

    fn describe(&self, held: &Held<'_>, text: &mut [u8]) -> usize {
        let Some(function) = self.dump else { return 0 };
        let arguments = [
            self.ctx as usize,
            held.as_raw() as usize,
            text.as_mut_ptr() as usize,
            text.len(),
            0,
        ];
        // SAFETY: as above. An int is the low half of what is returned: more than
        // there is room for is none.
        match unsafe { call_int(function as *const c_void, arguments) } {
            Ok(length) => usize::try_from(length).unwrap_or(0),
            Err(escape) => {
                unwinding::hold_end(escape);
                0
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
