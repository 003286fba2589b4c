// SPDX-License-Identifier: MIT OR Apache-2.0
//! The callbacks of a C caller, as a cache's registrar.

use super::cache::kdreg_cache_attr;
use super::kdreg_entry_t;
use crate::cache::{Departure, Handle, Held, Registrar, Registration};
use crate::errno::Errno;
use crate::log::{self, Level};
use crate::monitor::Needs;
use crate::range::Range;
use crate::unwinding::{self, call_int, call_void};
use std::ffi::{c_char, c_int, c_void};

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

/// kdreg_cache_event.cause: its mapping changed.
pub const KDREG_CAUSE_CHANGED: u32 = 1u32;
/// kdreg_cache_event.cause: kdreg_cache_invalidate().
pub const KDREG_CAUSE_INVALIDATED: u32 = 2u32;
/// kdreg_cache_event.cause: room was needed.
pub const KDREG_CAUSE_EVICTED: u32 = 3u32;
/// kdreg_cache_event.cause: a larger registration took its place.
pub const KDREG_CAUSE_MERGED: u32 = 4u32;
/// kdreg_cache_event.cause: kdreg_cache_flush(), or the end of the cache.
pub const KDREG_CAUSE_FLUSHED: u32 = 5u32;
/// kdreg_cache_event.cause: kdreg_cache_drop().
pub const KDREG_CAUSE_DROPPED: u32 = 6u32;
/// kdreg_cache_event.cause: the backend stopped working. Of the whole cache: nothing
/// is found any more, and what is registered is uncached. Said once, when the cache
/// hears of it.
pub const KDREG_CAUSE_LOST: u32 = 7u32;

/// An entry that lookups do not find any more. The library's; valid during the call only.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kdreg_cache_event {
    /// sizeof(struct kdreg_cache_event) in the library that runs.
    pub size: usize,
    /// What it registers; NULL with KDREG_CAUSE_LOST.
    pub addr: *mut c_void,
    /// Its length in bytes; 0 with KDREG_CAUSE_LOST.
    pub length: usize,
    /// Its rights.
    pub access: u32,
    /// KDREG_CAUSE_*.
    pub cause: u32,
    /// What the registering callback stored.
    pub handle: *mut c_void,
    /// The caller's bytes in it.
    pub data: *mut c_void,
}

/// Is told of an entry that lookups do not find any more: once, before it is
/// deregistered, by whichever thread found out, with no lock held. Others may still hold
/// it. May call the library, but not destroy the cache. It need not return, as
/// kdreg_register_fn says.
pub type kdreg_cache_event_fn =
    Option<unsafe extern "C" fn(ctx: *mut c_void, event: *const kdreg_cache_event)>;

/// Describes an entry in dumps: writes up to `size` bytes of text without line ends to
/// `text`, and returns how many there are. The entry is held meanwhile. Called with
/// no lock held.
pub type kdreg_dump_fn = Option<
    unsafe extern "C" fn(
        ctx: *mut c_void,
        entry: *const kdreg_entry_t,
        text: *mut c_char,
        size: usize,
    ) -> usize,
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
