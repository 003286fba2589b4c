// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dropping an entry, draining a cache, and what is to go first, in C.

use super::boundary::{count_of_callbacks, status, status_of_callbacks};
use super::{handle, kdreg_cache_t, kdreg_entry_t};
use crate::cache::{Cache, Done, Entry, PINNED};
use crate::errno::Errno;
use crate::unwinding::{self, call_void};
use std::ffi::{c_int, c_void};

/// Says that something is done. Called once, with no lock held, by whichever thread
/// did it. May call the library, but not destroy the cache. It need not return, as
/// kdreg_register_fn says.
pub type kdreg_done_fn = Option<unsafe extern "C" fn(arg: *mut c_void)>;

/// Calls a function that says that something is done.
fn call(done: Done) {
    let arguments = [done.arg, 0, 0, 0, 0];
    // SAFETY: the caller gave us a function that takes this argument, in any thread.
    if let Err(escape) = unsafe { call_void(done.function as *const c_void, arguments) } {
        unwinding::hold(escape);
    }
}

fn done_of(function: kdreg_done_fn, arg: *mut c_void) -> Option<Done> {
    function.map(|function| Done {
        call,
        function: function as usize,
        arg: arg as usize,
    })
}

/// Ends a registration for all later lookups: none finds this entry any more. The caller
/// holds it, and puts it back as ever. When the last reference is gone and it has been
/// deregistered, `done` is called with `arg`; NULL: nothing is. An entry that was
/// dropped before, or is not cached, is fine, too; each call has its own `done`.
///
/// Returns 0, and then `done` is called, be it before this returns (not while the caller
/// holds the entry); -EINVAL when it is not an entry of this cache or nobody holds it;
/// -ENOMEM; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_drop(
    cache: *mut kdreg_cache_t,
    entry: *mut kdreg_entry_t,
    done: kdreg_done_fn,
    arg: *mut c_void,
) -> c_int {
    status_of_callbacks(|| {
        let cache = handle::resolve::<Cache>(cache)?;
        let entry = entry.cast_const().cast::<Entry>();
        cache.inner().drop_checked(entry, done_of(done, arg))
    })
}

/// Ends the cache's use: from now on calls that would register fail with -ESHUTDOWN,
/// and so do lookups that find nothing; all entries are dropped, and prefetches that were
/// not begun end with -ESHUTDOWN. When nothing is in
/// use any more, nor being registered or prefetched, and everything has been deregistered, `done` is
/// called with `arg`, and the cache can be destroyed once it has returned and no thread
/// is in a call. With `done` NULL this waits until then: for others to put what they
/// hold, so the caller must hold nothing. When it returns, another thread may still be on
/// its way out of the put that was waited for, or of any other call: the cache can be
/// destroyed when no thread is inside one.
///
/// Returns 0; -EALREADY when another `done` is to be called; -EDEADLK when it would
/// wait for a callback, of the cache's or its group's, or a function of the log's, that it is
/// called in; -EINVAL for a null handle; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_drain(
    cache: *mut kdreg_cache_t,
    done: kdreg_done_fn,
    arg: *mut c_void,
) -> c_int {
    status_of_callbacks(|| {
        let cache = handle::resolve::<Cache>(cache)?;
        cache.inner().drain(done_of(done, arg))
    })
}

/// Evicts entries that nobody holds, the least recently used first, until `bytes` bytes have
/// been deregistered or none is left: for who runs out of what registrations take, elsewhere than in `reg`.
///
/// Returns how many entries there were; -EINVAL for a null handle; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_evict(cache: *mut kdreg_cache_t, bytes: usize) -> c_int {
    count_of_callbacks(|| handle::resolve::<Cache>(cache)?.inner().evict(bytes))
}

/// kdreg_cache_prioritize(): never evicted.
pub const KDREG_PRIORITY_PINNED: u32 = 255;
const _: () = assert!(KDREG_PRIORITY_PINNED == PINNED as u32);

/// Has an entry, which the caller holds, evicted after all those of a smaller priority: 0 is
/// what each begins with, up to 254; KDREG_PRIORITY_PINNED never is, neither for the limits of
/// the cache or its group, nor where `reg` lacks memory, nor by kdreg_cache_evict(). It lasts
/// until the entry is not found any more, because its memory changes, or it is dropped; a
/// registration that takes its place has the largest priority of those whose place it takes.
///
/// Returns 0; -ENOENT when the entry is not cached, or not any more; -EINVAL for another priority,
/// and when it is not an entry of this cache or nobody holds it; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_cache_prioritize(
    cache: *mut kdreg_cache_t,
    entry: *mut kdreg_entry_t,
    priority: u32,
) -> c_int {
    status(|| {
        let cache = handle::resolve::<Cache>(cache)?;
        let priority = u8::try_from(priority).map_err(|_| Errno::EINVAL)?;
        let entry = entry.cast_const().cast::<Entry>();
        cache.inner().prioritize(entry, priority)
    })
}
