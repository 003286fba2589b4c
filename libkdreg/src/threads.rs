// SPDX-License-Identifier: MIT OR Apache-2.0
//! The library's own threads, and a number for each of the application's.

use crate::errno::Errno;
use crate::owners::{Caller, Owner, Owners};
use crate::sync::{self, PLACES};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// Starts a thread of the library's: named, with a small stack, all signals
/// blocked before its first instruction, so that it runs no handler of the
/// application's and a stray signal cannot interrupt it.
pub(crate) fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Errno> {
    // SAFETY: sigset_t is plain data, filled before it is used; changing the
    // calling thread's mask is undone below.
    let previous = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut previous: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut previous);
        previous
    };
    let (started, has_started) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(256 * 1024)
        .spawn(move || {
            // Starting a Rust thread runs code that takes the dynamic loader's
            // lock and the allocator's. A thread of the application that
            // holds one of them may soon wait for our handler; so all of that
            // is over before the caller goes on.
            let _ = std::thread::current();
            started.send(()).ok();
            drop(started);
            body();
        });
    // SAFETY: restores the mask read above.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const previous, std::ptr::null_mut());
    }
    if thread.is_ok() {
        let _ = has_started.recv();
    }
    thread.map_err(|error| Errno::new(error.raw_os_error().unwrap_or(libc::EAGAIN)))
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
