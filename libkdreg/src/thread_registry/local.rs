// SPDX-License-Identifier: MIT OR Apache-2.0
//! Words of the calling thread, which are 0 again before it ends: by its number, which
//! is found without a call, and for threads beyond those that have one of their own,
//! under a key.

use super::{OWN_NUMBERS, SHARED_NUMBER, number};
use crate::specific::Scoped;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The words of one thread, apart from those of others.
#[repr(align(64))]
struct Line([AtomicUsize; WORDS]);

const WORDS: usize = 2;

/// No word: there was no place for one, which takes 64 other threads that have none with
/// the C library.
pub(crate) const UNSET: usize = usize::MAX;

/// By number. A number's words are 0 while it is nobody's. Relaxed: a thread's
/// own, but when its number is given back, which orders them.
static LINES: [Line; OWN_NUMBERS + 1] =
    [const { Line([const { AtomicUsize::new(0) }; WORDS]) }; OWN_NUMBERS + 1];

/// A word for each thread; 0 until it sets it.
pub(crate) struct Local<const WORD: usize> {
    /// For threads without a number of their own.
    rest: Scoped,
}

/// The innermost callback that the thread is inside of (`cache::frames`).
pub(crate) static INNERMOST: Local<0> = Local::new();
/// What it goes on with when it leaves the library (`unwinding`).
pub(crate) static HELD: Local<1> = Local::new();

impl<const WORD: usize> Local<WORD> {
    const fn new() -> Local<WORD> {
        Local {
            rest: Scoped::new(),
        }
    }

    /// The calling thread's word.
    #[inline]
    pub fn get(&self) -> usize {
        match number() {
            SHARED_NUMBER => self.rest.get(),
            number => LINES[number].0[WORD].load(Ordering::Relaxed),
        }
    }

    /// Sets the calling thread's word; what it was before. `UNSET`: there is no place
    /// for it, and it stays what it was.
    #[inline(always)]
    pub fn replace(&self, word: usize) -> usize {
        match number() {
            SHARED_NUMBER => {
                let before = self.rest.get();
                match self.rest.set(word) {
                    true => before,
                    false => UNSET,
                }
            }
            number => {
                let place = &LINES[number].0[WORD];
                let before = place.load(Ordering::Relaxed);
                place.store(word, Ordering::Relaxed);
                before
            }
        }
    }

    /// Sets the calling thread's word. `false`: there is no place for it, and it
    /// is what it was.
    #[inline(always)]
    pub fn set(&self, word: usize) -> bool {
        match number() {
            SHARED_NUMBER => self.rest.set(word),
            number => {
                LINES[number].0[WORD].store(word, Ordering::Relaxed);
                true
            }
        }
    }
}

/// The thread of this number is gone.
pub(super) fn clear(number: usize) {
    for word in &LINES[number].0 {
        word.store(0, Ordering::Relaxed);
    }
}
