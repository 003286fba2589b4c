// SPDX-License-Identifier: MIT OR Apache-2.0
// Files, in reading order:
//   local     a word for each thread, by its number
//! The application's threads: a small number for each that calls the library,
//! and by it what it has of its own here, its hazard record first.

pub(crate) mod local;

use crate::hazard::{Caller, Owner, Owners};
use crate::specific::Specific;
use crate::sync::{self, PLACES};
use crate::thread_pointer::{Me, identity};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

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
        me: Me,
    }
}

/// The threads as owners.
pub(crate) fn owners() -> &'static Owners {
    &OWNERS
}

/// Numbers in use, a bit each. Acquire/Release: the next owner of a number
/// must see what the last one left in the places it indexes.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// The calling thread's number, plus one.
static NUMBER: Specific = Specific::new(Some(leave));

/// The thread ends, or what the C library knows of it: gives its number back.
/// Async-signal-safe.
///
/// # Safety
/// None: the word is not followed.
unsafe extern "C" fn leave(word: *mut c_void) {
    let number = (word as usize).wrapping_sub(1);
    if number != SHARED_NUMBER {
        give_back(number);
    }
    // Others that are run now, or in the rounds that the C library makes of
    // this, may call the library: a number of its own would be lost with the
    // thread.
    NUMBER.set(SHARED_NUMBER + 1);
}

/// The calling thread gives its number back.
fn give_back(number: usize) {
    let known = known(identity());
    // Nobody else's: only a thread itself writes what is known of it.
    if known.load(Ordering::Relaxed) == knowledge(identity(), number) {
        known.store(0, Ordering::Relaxed);
    }
    local::clear(number);
    OWNERS.of(number as u8).forget();
    NUMBERS.fetch_and(!(1 << (number - 1)), Ordering::Release);
}

/// Numbers by what tells threads apart, where two do not need the same place:
/// the key would say the same, by a call. Relaxed: written by the thread that
/// it is about, or by another with its thread pointer, which is gone.
static KNOWN: [AtomicUsize; 256] = [const { AtomicUsize::new(0) }; 256];

/// Where the number of a thread may be noted.
#[inline(always)]
fn known(identity: usize) -> &'static AtomicUsize {
    // 2^64 / golden ratio.
    let hash = (identity as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    &KNOWN[(hash >> 56) as usize]
}

/// What is noted of a thread. Addresses leave the upper bits free, and their
/// lowest are the same for all threads.
#[inline(always)]
fn knowledge(identity: usize, number: usize) -> usize {
    identity.rotate_left(8) ^ number
}

/// A small number for the calling thread, to index per-thread places with:
/// its own, or [`SHARED_NUMBER`].
#[inline]
pub(crate) fn number() -> usize {
    let identity = identity();
    let number = known(identity).load(Ordering::Relaxed) ^ identity.rotate_left(8);
    if number.wrapping_sub(1) < OWN_NUMBERS {
        number
    } else {
        number_by_key()
    }
}

#[inline(never)]
fn number_by_key() -> usize {
    match NUMBER.get() {
        0 => assign(),
        word => word - 1,
    }
}

/// Runs in the child of fork(): the parent's other threads are not here, and
/// their numbers free again. A child of a raw clone keeps them taken, which
/// costs its threads speed, and where they were, so that it must not take down
/// its parent's caches and make others where they were. Every child keeps the
/// places of the entries that its parent shared: references that it inherited
/// and puts back must not be counted on entries of its own. Async-signal-safe.
extern "C" fn forget_other_threads() {
    let own = NUMBER.get().wrapping_sub(1);
    let mut kept = 0;
    for number in 1..=OWN_NUMBERS {
        if number == own {
            kept = 1 << (number - 1);
        } else {
            OWNERS.of(number as u8).forget();
            local::clear(number);
        }
    }
    let mine = std::ptr::from_ref(known(identity()));
    for known in KNOWN.iter().filter(|known| !std::ptr::eq(*known, mine)) {
        known.store(0, Ordering::Relaxed);
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
        let failed = unsafe { libc::pthread_atfork(None, None, Some(forget_other_threads)) } != 0;
        if failed {
            // Another thread may find the memory for it.
            INSTALLED.store(false, Ordering::Relaxed);
        }
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
    // Before the word says so: whoever reads the word is the owner.
    if number != SHARED_NUMBER {
        OWNERS.appoint(number as u8, identity());
    }
    if NUMBER.set(number + 1) {
        if number != SHARED_NUMBER {
            // Where no other thread's is.
            let _ = known(identity()).compare_exchange(
                0,
                knowledge(identity(), number),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        return number;
    }
    // No memory, or no keys left in the process: nobody would give the number
    // back.
    if number != SHARED_NUMBER {
        give_back(number);
    }
    SHARED_NUMBER
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
