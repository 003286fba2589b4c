// SPDX-License-Identifier: MIT OR Apache-2.0
//! A word for each thread, kept by the C library under a key.
//!
//! Not `thread_local!`: where the library was loaded by dlopen(3), a thread's
//! first look at such a variable allocates, and ends the process when there is
//! no memory; a destructor of one allocates likewise, and takes the dynamic
//! loader's lock, which a thread that runs ELF constructors holds. The words
//! of the first keys (32 of glibc's, all of musl's) are in the thread's own
//! descriptor.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering};

/// What runs when a thread ends that has a word, with the word, which is
/// taken from it before.
pub(crate) type Destructor = unsafe extern "C" fn(*mut c_void);

/// A word for each thread; 0 until it sets it.
pub(crate) struct Specific {
    /// The key plus one; [`UNMADE`]; [`REFUSED`]. Release when made, Acquire
    /// when used: what the C library notes of a key is there before its number.
    key: AtomicU32,
    destructor: Option<Destructor>,
}

const UNMADE: u32 = 0;
/// The process has as many keys as it may.
const REFUSED: u32 = u32::MAX;

impl Specific {
    pub const fn new(destructor: Option<Destructor>) -> Specific {
        Specific {
            key: AtomicU32::new(UNMADE),
            destructor,
        }
    }

    /// The calling thread's word.
    #[inline(always)]
    pub fn get(&self) -> usize {
        match self.key.load(Ordering::Acquire) {
            UNMADE | REFUSED => 0,
            // SAFETY: a key that was made, and is never deleted.
            key => unsafe { libc::pthread_getspecific(key - 1) as usize },
        }
    }

    /// Sets the calling thread's word. `false`: there is no key, or no memory,
    /// and the word is what it was.
    pub fn set(&self, word: usize) -> bool {
        let key = match self.key.load(Ordering::Acquire) {
            UNMADE => self.make(),
            key => key,
        };
        // SAFETY: a key that was made, and is never deleted; the word is not
        // followed by the C library.
        key != REFUSED && unsafe { libc::pthread_setspecific(key - 1, word as *const c_void) } == 0
    }

    #[cold]
    fn make(&self) -> u32 {
        let mut key = 0;
        // SAFETY: writes a local variable; the destructor stays, since the
        // library is never unmapped (-z nodelete).
        let failed = unsafe { libc::pthread_key_create(&raw mut key, self.destructor) } != 0;
        let made = if failed { REFUSED } else { key + 1 };
        match self
            .key
            .compare_exchange(UNMADE, made, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => made,
            Err(theirs) => {
                if !failed {
                    // SAFETY: nobody else has seen this key.
                    unsafe { libc::pthread_key_delete(key) };
                }
                theirs
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_has_its_own() {
        static WORD: Specific = Specific::new(None);
        assert_eq!(WORD.get(), 0);
        assert!(WORD.set(7));
        let others = std::thread::spawn(|| (WORD.get(), WORD.set(8), WORD.get()));
        assert_eq!(others.join().unwrap(), (0, true, 8));
        assert_eq!(WORD.get(), 7);
    }
}
