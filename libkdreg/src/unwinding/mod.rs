// SPDX-License-Identifier: MIT OR Apache-2.0
// Files, in reading order:
//   trampoline  the frame that calls a callback and that nothing passes
//! Callbacks that do not return: a thread that ends in one, a C++ exception that
//! leaves one.
//!
//! # How it works
//! * Callbacks are called through a frame that stops unwinding (`trampoline`),
//!   and tells Rust what escaped as a result like others.
//! * It is held ([`hold`]) while the call cleans up: a registration that
//!   escaped failed, a deregistration that escaped is done. A thread that is
//!   ending should not be sent into more callbacks: entries that are still to be
//!   released are left to the reaper, or to the next call that releases.
//! * The exported function, outside of everything else and with nothing left to
//!   do, goes on with it ([`resume_held`]): to its caller it is as if it had not
//!   been stopped.
//!
//! What escapes from a function that takes log messages is no affair of the
//! call that had something to say: an exception ends there. A thread that ends
//! there ends.

mod trampoline;

use crate::thread_registry::local::HELD;
use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use trampoline::{call_int, call_void};

/// `struct _Unwind_Exception`, as far as it is anybody's: which language's
/// it is, and how it is freed.
#[repr(C)]
pub(crate) struct Exception {
    class: u64,
    cleanup: Option<unsafe extern "C" fn(c_int, *mut Exception)>,
}

/// Unwinding that was stopped.
#[derive(Clone, Copy)]
pub(crate) struct Escape {
    exception: *mut Exception,
    /// The thread is ending.
    forced: bool,
}

/// In [`HELD`]'s word: the thread is ending. Exceptions are aligned to more.
const FORCED: usize = 1;

/// What the calling thread is to go on with when it leaves the library. Set and
/// taken within one call, between two callbacks, so that it does not matter that
/// a callback may come back in another thread.
fn held() -> Option<Escape> {
    match HELD.get() {
        0 => None,
        word => Some(Escape {
            exception: (word & !FORCED) as *mut Exception,
            forced: word & FORCED != 0,
        }),
    }
}

/// Whether anything was ever held: spares every call that asks a look at its
/// thread's word. Relaxed: a thread asks for what it stored itself.
static EVER: AtomicBool = AtomicBool::new(false);

fn set_held(escape: Escape) {
    EVER.store(true, Ordering::Relaxed);
    let word = escape.exception as usize | if escape.forced { FORCED } else { 0 };
    if !HELD.set(word) {
        // No memory to remember it by: an exception ends here, and a thread
        // goes on that was to end.
        escape.discard();
    }
}

unsafe extern "C-unwind" {
    fn _Unwind_RaiseException(exception: *mut Exception) -> c_int;
    fn _Unwind_Resume(exception: *mut Exception) -> !;
}

/// Keeps what escaped until the library is left. Of two exceptions it is the
/// first, and the end of the thread before any.
#[cold]
pub(crate) fn hold(escape: Escape) {
    match held() {
        Some(held) if !escape.forced => {
            // One object that escaped twice is still needed.
            if held.exception != escape.exception {
                escape.discard();
            }
        }
        Some(held) if !held.forced => {
            held.discard();
            set_held(escape);
        }
        _ => set_held(escape),
    }
}

/// As `hold`, of a callback that nobody asked for a result: an exception ends
/// here.
#[cold]
pub(crate) fn hold_end(escape: Escape) {
    if escape.forced {
        hold(escape);
    } else {
        escape.discard();
    }
}

/// Whether something escaped from a callback of this call: no further one is to
/// be called that can be left for later.
#[inline]
pub(crate) fn is_held() -> bool {
    EVER.load(Ordering::Relaxed) && HELD.get() != 0
}

/// Where nobody waits for an exception, in a thread of the library's, it ends.
/// Whether there was one.
pub(crate) fn discard_exception() -> bool {
    match held() {
        Some(held) if !held.forced => {
            HELD.set(0);
            held.discard();
            true
        }
        _ => false,
    }
}

/// Goes on with what was held, if anything was: then this does not return. To
/// be called where the frames from here to the library's caller have nothing to
/// clean up.
#[inline]
pub(crate) fn resume_held() {
    if is_held() {
        resume();
    }
}

#[cold]
fn resume() {
    let Some(Escape { exception, forced }) = held() else {
        return;
    };
    HELD.set(0);
    // SAFETY: an exception object that the unwinder gave to the trampoline in
    // this thread, and that nobody else has had since. Unwinding that is forced
    // is in its second phase, and goes on from this frame; an exception is past
    // its first, which found the trampoline, and begins a new one. Between this
    // frame and the library's caller nothing has a destructor.
    unsafe {
        if forced {
            _Unwind_Resume(exception);
        }
        _Unwind_RaiseException(exception);
        // It comes back when there is no handler.
        terminate(exception);
    }
}

impl Escape {
    /// Ends an exception here, as a handler would.
    pub(crate) fn discard(self) {
        if self.forced {
            return;
        }
        // SAFETY: the exception is ours, see `resume`. Where it is one of C++
        // its runtime is in the process; its functions are found by name, since
        // this library is not linked with it. They have these types by the C++
        // ABI. An exception of which the runtime cannot be found is freed, as
        // by any language that another one's exception came to.
        unsafe {
            let begin = symbol(c"__cxa_begin_catch");
            let end = symbol(c"__cxa_end_catch");
            let is_cplusplus = (*self.exception).class >> 8 & 0xff_ff_ff == CPLUSPLUS;
            if is_cplusplus && !begin.is_null() && !end.is_null() {
                let begin: unsafe extern "C" fn(*mut Exception) -> *mut c_void =
                    std::mem::transmute(begin);
                let end: unsafe extern "C" fn() = std::mem::transmute(end);
                begin(self.exception);
                end();
            } else if let Some(cleanup) = (*self.exception).cleanup {
                cleanup(FOREIGN_EXCEPTION_CAUGHT, self.exception);
            }
        }
    }
}

/// An exception without a handler: what C++ does then. Its handlers of last
/// resort run.
///
/// # Safety
/// `exception` is the caller's, and was raised.
unsafe fn terminate(exception: *mut Exception) -> ! {
    // SAFETY: as in `discard`.
    unsafe {
        let begin = symbol(c"__cxa_begin_catch");
        let terminate = symbol(c"_ZSt9terminatev");
        if !begin.is_null() && !terminate.is_null() {
            let begin: unsafe extern "C" fn(*mut Exception) -> *mut c_void =
                std::mem::transmute(begin);
            let terminate: unsafe extern "C" fn() -> ! = std::mem::transmute(terminate);
            begin(exception);
            terminate();
        }
    }
    std::process::abort()
}

/// "C++", the end of the class of GNU's and LLVM's exceptions, but for a last byte
/// that tells kinds of them apart.
const CPLUSPLUS: u64 = 0x43_2b_2b;

const FOREIGN_EXCEPTION_CAUGHT: c_int = 1;

/// A function of the process's, if it has one.
fn symbol(name: &std::ffi::CStr) -> *mut c_void {
    let name: *const c_char = name.as_ptr();
    // SAFETY: a C string; looks through what is loaded.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name) }
}
