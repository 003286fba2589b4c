// SPDX-License-Identifier: MIT OR Apache-2.0
//! What ThreadSanitizer needs to be told, in a program that was built with it.
//!
//! It knows of memory what instrumented code does to it, and of order what
//! instrumented code and the functions that it intercepts say. This library is
//! not instrumented, and its locks are unknown to it. So it would take what the
//! library does by way of memmove() or free() for races, and what `reg` wrote in
//! one thread and a user of the entry reads in another. Where it is there, it is
//! told:
//! * not to look at the library's own memory while a call is in its slow parts
//!   ([`unwatched`]), callbacks excepted;
//! * that what was done before a call that names a handle, and in a callback, comes before what
//!   follows a lookup, and before a callback ([`pass_on`], [`take_over`]). The
//!   library does order these, for each entry; to say so for all of them at once
//!   is as much as a lock of its own would.
//!
//! Where it is not there, which is known from the first call on, a hit pays
//! nothing for it: where it is, the ways are closed by which a call is
//! quick (`PageIndex::note`, `ffi::handle`).

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

const ABSENT: u8 = 0;
const UNKNOWN: u8 = 1;
const PRESENT: u8 = 2;

/// Relaxed, as the functions' addresses are: whoever finds it unknown looks for
/// itself, and finds the same.
static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

/// A function of the detector's.
struct Function(AtomicUsize);

impl Function {
    const fn new() -> Function {
        Function(AtomicUsize::new(0))
    }

    fn find(&self, name: &CStr) -> bool {
        // SAFETY: a C string; looks through what is loaded.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        self.0.store(found as usize, Ordering::Relaxed);
        !found.is_null()
    }

    /// Calls one that takes an address.
    fn tell(&self, address: *const c_void) {
        // SAFETY: found by `find`, before the state was PRESENT; of this type by
        // the detector's interface.
        unsafe {
            let function: extern "C" fn(*const c_void) =
                std::mem::transmute(self.0.load(Ordering::Relaxed));
            function(address);
        }
    }

    /// Calls one that takes a place in the source.
    fn say(&self) {
        // SAFETY: as in `tell`.
        unsafe {
            let function: extern "C" fn(*const c_char, c_int) =
                std::mem::transmute(self.0.load(Ordering::Relaxed));
            function(c"libkdreg".as_ptr(), 0);
        }
    }
}

static ACQUIRE: Function = Function::new();
static RELEASE: Function = Function::new();
static IGNORE: Function = Function::new();
static HEED: Function = Function::new();

/// What stands for all order that the library makes.
static ORDER: u64 = 0;

thread_local! {
    /// How many times over the calling thread is not to be looked at.
    static UNWATCHED: Cell<u32> = const { Cell::new(0) };
}

/// Whether the detector is there.
#[inline]
pub(crate) fn is_present() -> bool {
    STATE.load(Ordering::Relaxed) != ABSENT && look()
}

#[cold]
fn look() -> bool {
    if STATE.load(Ordering::Relaxed) == UNKNOWN {
        let found = ACQUIRE.find(c"__tsan_acquire")
            && RELEASE.find(c"__tsan_release")
            // Either of these two pairs makes it look at neither.
            && IGNORE.find(c"AnnotateIgnoreWritesBegin")
            && HEED.find(c"AnnotateIgnoreWritesEnd");
        // Release: who sees it sees the functions.
        STATE.store(if found { PRESENT } else { ABSENT }, Ordering::Release);
    }
    STATE.load(Ordering::Acquire) == PRESENT
}

fn order() -> *const c_void {
    (&raw const ORDER).cast()
}

/// What the calling thread did comes before what follows [`take_over`] in others.
#[inline]
pub(crate) fn pass_on() {
    if is_present() {
        RELEASE.tell(order());
    }
}

/// What others did before [`pass_on`] comes before what the calling thread does.
#[inline]
pub(crate) fn take_over() {
    if is_present() {
        ACQUIRE.tell(order());
    }
}

/// Not looking at the calling thread, while it lives.
struct Unwatched;

impl Unwatched {
    #[cold]
    fn new() -> Unwatched {
        let before = UNWATCHED.get();
        UNWATCHED.set(before + 1);
        if before == 0 {
            IGNORE.say();
        }
        Unwatched
    }
}

impl Drop for Unwatched {
    #[cold]
    fn drop(&mut self) {
        let left = UNWATCHED.get() - 1;
        UNWATCHED.set(left);
        if left == 0 {
            HEED.say();
        }
    }
}

/// Runs the library's own code.
#[inline]
pub(crate) fn unwatched<T>(body: impl FnOnce() -> T) -> T {
    let _unwatched = is_present().then(Unwatched::new);
    body()
}

/// Runs a callback, which is the application's code, from the library's.
#[inline]
pub(crate) fn watched<T>(callback: impl FnOnce() -> T) -> T {
    if is_present() {
        watched_now(callback)
    } else {
        callback()
    }
}

#[cold]
fn watched_now<T>(callback: impl FnOnce() -> T) -> T {
    let before = UNWATCHED.replace(0);
    if before > 0 {
        HEED.say();
    }
    take_over();
    let result = callback();
    pass_on();
    if before > 0 {
        IGNORE.say();
    }
    UNWATCHED.set(before);
    result
}
