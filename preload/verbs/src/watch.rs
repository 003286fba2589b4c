// SPDX-License-Identifier: MIT OR Apache-2.0
//! The process's monitor, and whether this is still the process that has it.

use crate::kdreg::{kdreg_backend_name, kdreg_open, kdreg_strerror, kdreg_t};
use crate::{log, settings};
use std::ffi::{CStr, c_char};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set in a child after fork(): the caches are the parent's. Relaxed: the child
/// has one thread when it is set.
static FORKED: AtomicBool = AtomicBool::new(false);

extern "C" fn forked() {
    FORKED.store(true, Ordering::Relaxed);
}

/// Whether this process is a child of the one that has the caches. It is
/// passed through throughout, and takes none of the locks, which a thread of
/// the parent may have held.
pub fn is_forked_child() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Set when children will know what they are.
static FOLLOWED: AtomicBool = AtomicBool::new(false);

/// From here on children know what they are; `false` without memory for that.
/// Before anything that they must not find taken by a thread of the parent, and
/// not earlier: who forks before that is no parent of theirs.
pub fn follow_forks() -> bool {
    // Acquire: pairs with the Release below, so that who forks after this finds
    // the function registered.
    if FOLLOWED.load(Ordering::Acquire) {
        return true;
    }
    // Twice, by two threads, does no harm.
    // SAFETY: a function without arguments; this library is never unloaded.
    let followed = unsafe { libc::pthread_atfork(None, None, Some(forked)) } == 0;
    if followed {
        FOLLOWED.store(true, Ordering::Release);
    }
    followed
}

/// The process's monitor, or why there is none. Opened at the first
/// registration, never closed.
pub struct Opened {
    pub monitor: *mut kdreg_t,
    backend: &'static str,
}

// SAFETY: a handle that any thread may use.
unsafe impl Send for Opened {}
// SAFETY: as above.
unsafe impl Sync for Opened {}

static MONITOR: OnceLock<Option<Opened>> = OnceLock::new();

/// A text of libkdreg's.
pub fn text(pointer: *const c_char) -> &'static str {
    if pointer.is_null() {
        return "";
    }
    // SAFETY: libkdreg's texts are C strings that stay.
    unsafe { CStr::from_ptr(pointer) }.to_str().unwrap_or("")
}

fn open() -> Option<Opened> {
    if settings::settings().disabled {
        return None;
    }
    let mut monitor = std::ptr::null_mut();
    // SAFETY: the defaults, and room for the result.
    let error = unsafe { kdreg_open(std::ptr::null(), &raw mut monitor) };
    if error != 0 {
        // SAFETY: any error has a text.
        let why = text(unsafe { kdreg_strerror(error) });
        log::once(format_args!(
            "nothing is cached: no monitor ({why}); kdreg_info tells what this machine can do"
        ));
        return None;
    }
    // SAFETY: open.
    let backend = text(unsafe { kdreg_backend_name(monitor) });
    if backend == "none" {
        log::once(format_args!(
            "nothing is cached: no backend can watch memory here; kdreg_info tells why, and \
             what would help"
        ));
        return None;
    }
    if !follow_forks() {
        log::once(format_args!("nothing is cached: no memory"));
        return None;
    }
    Some(Opened { monitor, backend })
}

/// The monitor; `None` when nothing is to be cached, which was said.
pub fn monitor() -> Option<&'static Opened> {
    MONITOR.get_or_init(open).as_ref()
}

/// The name of what watches memory, for people.
pub fn backend() -> &'static str {
    match MONITOR.get() {
        Some(Some(opened)) => opened.backend,
        _ => "none",
    }
}
