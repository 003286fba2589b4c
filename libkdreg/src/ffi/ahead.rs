// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registering ahead of use, in C.

use super::boundary::{status, status_of_callbacks, writable};
use super::lookup::{ask_of, kdreg_get_attr};
use super::{handle, kdreg_cache_t, kdreg_entry_t};
use crate::cache::{Cache, Ready};
use crate::errno::Errno;
use crate::range::Range;
use crate::unwinding::{self, call_void};
use std::ffi::{c_int, c_void};
use std::ptr::null;

/// Is given what kdreg_cache_prefetch() asked for: `status` is 0, and `entry` held, for the
/// caller to put at any time; or `status` is negative, as from kdreg_cache_get(), and
/// `entry` NULL. Called once, with no lock held, by the cache's own thread; in a
/// cache that is being drained, and has none, by one in kdreg_cache_drain() or
/// kdreg_cache_reap(), or by the reaper. May call the library, but not destroy the cache. It
/// need not return, as kdreg_register_fn says.
pub type kdreg_ready_fn =
    Option<unsafe extern "C" fn(arg: *mut c_void, status: c_int, entry: *mut kdreg_entry_t)>;

/// Calls a function that waits for an entry.
fn call(ready: Ready, entry: Result<*const (), Errno>) {
    let (status, entry) = match entry {
        Ok(entry) => (0, entry),
        Err(error) => (error.negated(), null()),
    };
    let arguments = [ready.arg, status as usize, entry as usize, 0, 0];
    // SAFETY: the caller gave us a function that takes these arguments, in any thread;
    // an int is the low half of a register.
    if let Err(escape) = unsafe { call_void(ready.function as *const c_void, arguments) } {
        unwinding::hold(escape);
    }
}

/// As kdreg_cache_get_with(), but never registers on this thread: where nothing is found,
/// a thread of the cache's own begins to register it, and a later call finds it. Call it
/// again from time to time, with the same arguments. What cannot be kept in the cache is
/// not registered.
///
/// Returns 0 and the entry in `*out`; -EAGAIN when it is being registered, or waits for that.
/// Once, what became of it: what `reg` returned, -EFAULT, -ENOMEM; -ENOENT when it cannot be
/// kept, because of the limits, the backend or KDREG_CACHE_BYPASS, or since it changes all
/// the time; -ECANCELED when a callback did not return: then nothing waits any more, and the
/// next call begins anew. -ENOBUFS when 256 wait already; -ESHUTDOWN when the cache is being
/// drained or destroyed, or the process exits; -EINVAL; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_try_get(
    cache: *mut kdreg_cache_t,
    addr: *const c_void,
    length: usize,
    attr: *const kdreg_get_attr,
    out: *mut *mut kdreg_entry_t,
) -> c_int {
    status_of_callbacks(|| {
        let cache = handle::resolve::<Cache>(cache)?;
        let out = writable(out)?;
        let (access, ask) = ask_of(attr)?;
        let entry = cache.try_get(Range::new(addr as usize, length)?, access, ask)?;
        // SAFETY: checked above.
        unsafe { out.write(entry.into_raw().cast_mut().cast()) };
        Ok(())
    })
}

/// Has a thread of the cache's own do as kdreg_cache_get_with() does, and gives the entry to
/// `ready`, with `arg`: as long as that was not called, the memory must stay as it is, as
/// during a get. With `ready` NULL the entry is there for later lookups, if it can be
/// kept; what becomes of it kdreg_cache_try_get() tells.
///
/// Returns 0, and then `ready` is called, even before this returns; -ENOBUFS when 256
/// wait already; -ENOMEM, also when no thread can be started; -ESHUTDOWN when the cache
/// is being drained or destroyed, or the process exits; -EINVAL; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_prefetch(
    cache: *mut kdreg_cache_t,
    addr: *const c_void,
    length: usize,
    attr: *const kdreg_get_attr,
    ready: kdreg_ready_fn,
    arg: *mut c_void,
) -> c_int {
    status(|| {
        let cache = handle::resolve::<Cache>(cache)?;
        let (access, ask) = ask_of(attr)?;
        let ready = ready.map(|function| Ready {
            call,
            function: function as usize,
            arg: arg as usize,
        });
        cache.prefetch(Range::new(addr as usize, length)?, access, ask, ready)
    })
}
