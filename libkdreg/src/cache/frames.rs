// SPDX-License-Identifier: MIT OR Apache-2.0
//! The callbacks that a thread is inside of.

use super::Inner;
use crate::log;
use crate::thread_registry::local::{INNERMOST, UNSET};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A callback that the calling thread is inside of, and the one around it.
struct Frame {
    cache: *const Inner,
    outer: Cell<*const Frame>,
}

/// Whether the calling thread is inside a callback of this cache.
pub(super) fn inside_callback_of(cache: &Inner) -> bool {
    inside_callback(|current| std::ptr::eq(current, cache))
}

/// Whether the calling thread is inside a callback of such a cache.
pub(super) fn inside_callback(is: impl Fn(*const Inner) -> bool) -> bool {
    let mut frame = INNERMOST.get() as *const Frame;
    // SAFETY: frames live on this thread's stack, in callers of this function,
    // and are unlinked before they go.
    while let Some(current) = unsafe { frame.as_ref() } {
        if is(current.cache) {
            return true;
        }
        frame = current.outer.get();
    }
    false
}

/// Callbacks under way of threads that have no place to note them in, as many others have
/// none with the C library (`specific::Scoped`). Relaxed: who must see itself counted is
/// the same thread. A child that is forked meanwhile keeps the count: its flushes wait
/// for nobody.
static UNNOTED: AtomicUsize = AtomicUsize::new(0);

/// Whether the calling thread may be inside a callback of any cache, or inside a
/// function of the log's, which may have been called in the middle of anything. Of
/// callbacks that could not be noted it may be any: who waited for its own would for
/// ever.
pub(super) fn inside_any() -> bool {
    INNERMOST.get() != 0 || log::may_be_inside() || UNNOTED.load(Ordering::Relaxed) > 0
}

impl Inner {
    /// Whether who waits for what uses this cache would wait for a callback that the
    /// calling thread is inside of: one of its own, or of its group's, whose caches
    /// call each other's; or a function of the log's, which any may have called.
    pub(super) fn waits_for_callback(&self) -> bool {
        let group = self.options.group.as_ref();
        log::is_inside()
            || inside_callback(|cache| {
                std::ptr::eq(cache, self) || group.is_some_and(|group| group.has(cache))
            })
    }

    /// Runs a callback, with no lock held.
    #[inline(always)]
    pub(super) fn call<T>(&self, callback: impl FnOnce() -> T) -> T {
        struct Unlink(usize);
        impl Drop for Unlink {
            #[inline(always)]
            fn drop(&mut self) {
                if self.0 == UNSET {
                    UNNOTED.fetch_sub(1, Ordering::Relaxed);
                } else {
                    INNERMOST.set(self.0);
                }
            }
        }
        let frame = Frame {
            cache: self,
            outer: Cell::new(std::ptr::null()),
        };
        let outer = INNERMOST.replace(&raw const frame as usize);
        if outer == UNSET {
            // A callback that destroys its own cache is not found out then.
            UNNOTED.fetch_add(1, Ordering::Relaxed);
        } else {
            frame.outer.set(outer as *const Frame);
        }
        // In whichever thread the callback comes back.
        let unlink = Unlink(outer);
        let result = callback();
        drop(unlink);
        result
    }
}
