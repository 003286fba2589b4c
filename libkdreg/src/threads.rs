// SPDX-License-Identifier: MIT OR Apache-2.0
//! The library's own threads, and a number for each of the application's.

use crate::cancellation::{self, held_off};
use crate::errno::Errno;
use crate::owners::{Caller, Owner, Owners};
use crate::sync::{self, PLACES};
use crate::unwinding;
use std::cell::Cell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Room for a name of the kernel's, NUL included.
const NAME: usize = 16;

/// A thread of the library's. Dropping it lets the thread go on by itself.
pub(crate) struct Thread(libc::pthread_t);

/// What a thread is given to begin with.
type Body = Box<dyn FnOnce() + Send>;

/// Starts a thread of the library's: named, with a small stack, all signals
/// blocked before its first instruction, so that it runs no handler of the
/// application's and a stray signal cannot interrupt it; and not to be
/// cancelled.
///
/// Not one of std's, which cannot end in a callback of the application's.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<Thread, Errno> {
    let mut short = [0u8; NAME];
    let length = name.len().min(NAME - 1);
    short[..length].copy_from_slice(&name.as_bytes()[..length]);
    let (started, has_started) = std::sync::mpsc::sync_channel(1);
    let body: Body = Box::new(move || {
        cancellation::never();
        // SAFETY: the calling thread, and a C string that fits.
        unsafe { libc::pthread_setname_np(libc::pthread_self(), short.as_ptr().cast()) };
        // Starting a Rust thread runs code that takes the dynamic loader's
        // lock and the allocator's. A thread of the application that
        // holds one of them may soon wait for our handler; so all of that
        // is over before the caller goes on.
        let _ = std::thread::current();
        started.send(()).ok();
        drop(started);
        body();
    });
    let argument = Box::into_raw(Box::new(body));
    // SAFETY: sigset_t and the attributes are plain data, filled before they are
    // used; changing the calling thread's mask is undone. `start` is called
    // once, with what it expects. Both types of it are called in the same way:
    // this one says that unwinding may leave it, which the C library expects of
    // any thread.
    let (error, thread) = unsafe {
        let start = std::mem::transmute::<
            unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void,
            extern "C" fn(*mut c_void) -> *mut c_void,
        >(start);
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut previous: libc::sigset_t = std::mem::zeroed();
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        let mut thread: libc::pthread_t = std::mem::zeroed();
        libc::pthread_attr_init(&raw mut attributes);
        libc::pthread_attr_setstacksize(&raw mut attributes, 256 * 1024);
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut previous);
        let error = libc::pthread_create(
            &raw mut thread,
            &raw const attributes,
            start,
            argument.cast(),
        );
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const previous, std::ptr::null_mut());
        libc::pthread_attr_destroy(&raw mut attributes);
        (error, thread)
    };
    if error != 0 {
        // SAFETY: no thread has it.
        drop(unsafe { Box::from_raw(argument) });
        return Err(Errno::new(error));
    }
    let _ = has_started.recv();
    Ok(Thread(thread))
}

/// A thread's first frame, and its last: with nothing left to clean up, a thread
/// that was ended in a callback goes on to its end from here.
///
/// # Safety
/// `body` is a `Box<Body>` turned into a pointer, for this call alone.
unsafe extern "C-unwind" fn start(body: *mut c_void) -> *mut c_void {
    // SAFETY: the caller's.
    let body = unsafe { Box::from_raw(body.cast::<Body>()) };
    // A panic is a bug of this library; its message went to standard error.
    drop(catch_unwind(AssertUnwindSafe(body)));
    unwinding::resume_held();
    std::ptr::null_mut()
}

impl Thread {
    /// Whether it is the calling thread.
    pub(crate) fn is_current(&self) -> bool {
        // SAFETY: two threads' names, neither of which was joined or detached.
        unsafe { libc::pthread_equal(self.0, libc::pthread_self()) != 0 }
    }

    /// Waits until the thread has ended.
    pub(crate) fn join(self) {
        let thread = std::mem::ManuallyDrop::new(self);
        // SAFETY: a thread that was neither joined nor detached.
        held_off(|| unsafe { libc::pthread_join(thread.0, std::ptr::null_mut()) });
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: as in `join`.
        unsafe { libc::pthread_detach(self.0) };
    }
}

/// Numbers from 1 to this belong to one live thread alone.
pub(crate) const OWN_NUMBERS: usize = 64;

/// The number of threads beyond [`OWN_NUMBERS`]: shared by all of them.
pub(crate) const SHARED_NUMBER: usize = 0;

/// The threads as owners of entries, by number.
static OWNERS: Owners = Owners {
    lines: [const {
        Owner {
            identity: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            counts: [const { AtomicU32::new(0) }; PLACES],
        }
    }; sync::OWNERS],
    places: [const { AtomicUsize::new(0) }; PLACES],
    highest: AtomicUsize::new(0),
};
const _: () = assert!(size_of::<Owner>() == 128);
// Those above say in an entry that it is shared.
const _: () = assert!(OWN_NUMBERS < 128);

/// The threads as owners, and which the calling one is.
#[inline(always)]
pub(crate) fn caller() -> Caller<'static> {
    Caller {
        owners: &OWNERS,
        identity: identity(),
    }
}

/// The threads as owners.
pub(crate) fn owners() -> &'static Owners {
    &OWNERS
}

/// What tells the calling thread from every other that lives: its thread
/// pointer. Never 0.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
fn identity() -> usize {
    let pointer;
    // SAFETY: reads a register's worth of the thread's own memory: by the ABI
    // of thread-local storage the word at the thread pointer holds the thread
    // pointer. Not `pure`: code that runs before and after a callback may run
    // in different threads (fibers).
    unsafe {
        std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, preserves_flags, readonly));
    }
    pointer
}

/// As above.
#[inline(always)]
#[cfg(target_arch = "aarch64")]
fn identity() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe {
        std::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, preserves_flags, nomem));
    }
    pointer
}

/// As above; the address of something that every thread has one of will do.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn identity() -> usize {
    NUMBER.with(|number| std::ptr::from_ref(number) as usize)
}

/// Numbers in use, a bit each. Acquire/Release: the next owner of a number
/// must see what the last one left in the places it indexes.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// A thread's number while the thread lives.
struct Number(usize);

impl Drop for Number {
    fn drop(&mut self) {
        NUMBER.set(UNNUMBERED);
        if self.0 != SHARED_NUMBER {
            OWNERS.of(self.0 as u8).forget();
            NUMBERS.fetch_and(!(1 << (self.0 - 1)), Ordering::Release);
        }
    }
}

const UNNUMBERED: usize = usize::MAX;

thread_local! {
    /// What the hot path reads: no destructor, so no state to check.
    static NUMBER: Cell<usize> = const { Cell::new(UNNUMBERED) };
    /// Gives the number back at thread exit.
    static OWNER: Cell<Option<Number>> = const { Cell::new(None) };
}

/// A small number for the calling thread, to index per-thread places with:
/// its own, or [`SHARED_NUMBER`].
#[inline]
pub(crate) fn number() -> usize {
    match NUMBER.get() {
        UNNUMBERED => assign(),
        number => number,
    }
}

/// Runs in the child of fork(): the parent's other threads are not here, and
/// their numbers free again. A child of a raw clone keeps them taken, which
/// costs its threads speed, and where they were, so that it must not take down
/// its parent's caches and make others where they were. Every child keeps the
/// places of the entries that its parent shared: references that it inherited
/// and puts back must not be counted on entries of its own. Async-signal-safe.
extern "C" fn forget_other_threads() {
    let own = NUMBER.get();
    let mut kept = 0;
    for number in 1..=OWN_NUMBERS {
        if number == own {
            kept = 1 << (number - 1);
        } else {
            OWNERS.of(number as u8).forget();
        }
    }
    // Release: as when a number is given back.
    NUMBERS.store(kept, Ordering::Release);
}

#[cold]
fn assign() -> usize {
    // Not a Once: a child forked while it runs would wait for a thread it does
    // not have. Relaxed: only one caller may see `false`.
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if !INSTALLED.swap(true, Ordering::Relaxed) {
        // SAFETY: registers a function that stays: the library is never
        // unmapped (-z nodelete).
        unsafe { libc::pthread_atfork(None, None, Some(forget_other_threads)) };
    }
    let mut taken = NUMBERS.load(Ordering::Relaxed);
    let number = loop {
        let free = (!taken).trailing_zeros() as usize;
        if free >= OWN_NUMBERS {
            break SHARED_NUMBER;
        }
        match NUMBERS.compare_exchange_weak(
            taken,
            taken | 1 << free,
            Ordering::Acquire,
            Ordering::Relaxed,
        ) {
            Ok(_) => break free + 1,
            Err(now) => taken = now,
        }
    };
    // While thread-local storage is being torn down the number cannot be
    // kept; the shared one is right for a few last calls.
    let owner = Number(number);
    match OWNER.try_with(|place| place.set(Some(owner))) {
        Ok(()) => {
            if number != SHARED_NUMBER {
                OWNERS.appoint(number as u8, identity());
            }
            NUMBER.set(number);
            number
        }
        Err(_) => SHARED_NUMBER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_threads_have_different_numbers() {
        let own = number();
        assert_eq!(number(), own);
        let other = std::thread::spawn(number).join().unwrap();
        assert_ne!(own, other);
    }
}
