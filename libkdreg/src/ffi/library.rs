// SPDX-License-Identifier: MIT OR Apache-2.0
//! Version, errors, log.

use super::boundary::{shielded, status};
use crate::errno::Errno;
use crate::log::{self, Level};
use crate::unwinding::{self, call_void};
use std::ffi::{CStr, c_char, c_int, c_void};

const VERSION_STRING: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("a version contains NUL"),
    };

/// A decimal number of the package version.
const fn number(text: &str) -> u32 {
    let bytes = text.as_bytes();
    let (mut value, mut index) = (0, 0);
    while index < bytes.len() {
        value = value * 10 + (bytes[index] - b'0') as u32;
        index += 1;
    }
    value
}

/// The version of the library that runs, as (major << 16) | (minor << 8) | patch.
#[unsafe(no_mangle)]
pub extern "C" fn kdreg_version() -> u32 {
    const VERSION: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) << 16
        | number(env!("CARGO_PKG_VERSION_MINOR")) << 8
        | number(env!("CARGO_PKG_VERSION_PATCH"));
    VERSION
}

/// The version of the library that runs, "major.minor.patch". Static; never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn kdreg_version_string() -> *const c_char {
    VERSION_STRING.as_ptr()
}

/// What an error means: `error` is what a function of this library returned
/// (negative), or an errno value (positive). Never NULL; valid for ever for
/// the errors that this library's documentation names, otherwise until the
/// calling thread asks again.
#[unsafe(no_mangle)]
pub extern "C" fn kdreg_strerror(error: c_int) -> *const c_char {
    shielded(c"internal error".as_ptr(), || {
        if error == 0 {
            return c"success".as_ptr();
        }
        let errno = Errno::new(error.checked_abs().unwrap_or(0));
        match errno.explanation() {
            Some(text) => text.as_ptr(),
            // SAFETY: strerror has no preconditions; glibc and musl return a
            // static or per-thread string.
            None => unsafe { libc::strerror(errno.value()).cast_const() },
        }
    })
}

/// Log level: something failed that the caller asked for.
pub const KDREG_LOG_ERROR: c_int = 1;
/// Log level: the library carries on with less than it could offer.
pub const KDREG_LOG_WARN: c_int = 2;
/// Log level: decisions, such as which backend is used and why.
pub const KDREG_LOG_INFO: c_int = 3;
/// Log level: every registration and release.
pub const KDREG_LOG_DEBUG: c_int = 4;

/// Receives the library's messages. Called by whichever thread has something to
/// say, with no lock of the library held, in the middle of anything; it may call the
/// library, but not destroy a cache, nor drain one with a NULL `done` (-EDEADLK).
/// `message` is valid during the call only. The thread is not cancelled meanwhile; an
/// exception that leaves it ends there, and a thread that ends in it ends when it
/// leaves the library.
pub type kdreg_log_fn =
    Option<unsafe extern "C" fn(ctx: *mut c_void, level: c_int, message: *const c_char)>;

/// Calls a function that takes messages.
fn hand_to(sink: log::Function, level: Level, message: &CStr) {
    let arguments = [sink.ctx, level as usize, message.as_ptr() as usize, 0, 0];
    // SAFETY: the caller of kdreg_set_log gave us a function that takes these
    // arguments, with its context, in any thread.
    let called = unsafe { call_void(sink.function as *const c_void, arguments) };
    if let Err(escape) = called {
        unwinding::hold_end(escape);
    }
}

/// Sends messages up to `level` (KDREG_LOG_*) to `fn`, called with `ctx` from
/// any thread; NULL sends them to standard error. Until this is called the
/// environment variable KDREG_LOG (off, error, warn, info, debug) sets the
/// level, warn when unset. A message under way in another thread may still
/// reach the previous function.
///
/// Returns 0; -EINVAL for an unknown level; -ENOMEM.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_set_log(
    r#fn: kdreg_log_fn,
    ctx: *mut c_void,
    level: c_int,
) -> c_int {
    status(|| {
        let level = Level::from_number(level).ok_or(Errno::EINVAL)?;
        let function = r#fn.map(|function| function_of(function, ctx));
        log::set_function(function, level)
    })
}

fn function_of(
    function: unsafe extern "C" fn(*mut c_void, c_int, *const c_char),
    ctx: *mut c_void,
) -> log::Function {
    log::Function {
        call: hand_to,
        function: function as usize,
        ctx: ctx as usize,
    }
}

/// Sends messages up to `level` (KDREG_LOG_*) to `fn`, called with `ctx` from any thread,
/// besides whoever gets them already: for libraries, which take nothing from each other
/// so. Again for the same `fn` and `ctx`: another level.
///
/// Returns 0; -EINVAL when `fn` is NULL or for an unknown level; -ENOMEM.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_add_log(
    r#fn: kdreg_log_fn,
    ctx: *mut c_void,
    level: c_int,
) -> c_int {
    status(|| {
        let function = r#fn.ok_or(Errno::EINVAL)?;
        let level = Level::from_number(level).ok_or(Errno::EINVAL)?;
        log::add_function(function_of(function, ctx), level)
    })
}

/// Ends what kdreg_add_log() began for this `fn` and `ctx`. A message under way in another
/// thread may still reach it.
///
/// Returns 0; -ENOENT when it was not added; -EINVAL when `fn` is NULL.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_remove_log(r#fn: kdreg_log_fn, ctx: *mut c_void) -> c_int {
    status(|| {
        let function = r#fn.ok_or(Errno::EINVAL)?;
        match log::remove_function(function_of(function, ctx)) {
            true => Ok(()),
            false => Err(Errno::ENOENT),
        }
    })
}
