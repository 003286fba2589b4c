// SPDX-License-Identifier: MIT OR Apache-2.0
//! A word for each thread, kept by the C library under a key.
//!
//! Not `thread_local!`: where the library was loaded by dlopen(3), a thread's
//! first look at such a variable allocates, and ends the process when there is
//! no memory; a destructor of one allocates likewise, and takes the dynamic
//! loader's lock, which a thread that runs ELF constructors holds. The words
//! of the first keys (32 of glibc's, all of musl's) are in the thread's own
//! descriptor.

use crate::process::PerProcess;
use crate::thread_pointer::identity;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

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

/// A word for each thread, which is 0 again before the thread ends. Where the C library
/// has no place for it, since the process has no key left or no memory, it is noted here,
/// for so many threads at a time.
pub(crate) struct Scoped {
    specific: Specific,
    /// Of one process: the identities in it would be those of other threads in a
    /// forked child.
    notes: PerProcess<Notes>,
    /// Whether there ever were notes, in any process: else nobody looks. Relaxed: who
    /// has a note has set this itself.
    noted: AtomicBool,
}

const NOTES: usize = 64;

/// One thread's word. Its own alone: others look at `thread` only, for their own
/// identity, which is not there unless they have put it there, or for 0. A thread that
/// gets the identity of one that is gone comes after all that one did.
#[derive(Default)]
struct Note {
    /// The thread's identity; 0: nobody's. Release when it becomes 0, Acquire when it
    /// is taken: the word of who had it is written before that of who has it.
    thread: AtomicUsize,
    word: AtomicUsize,
}

struct Notes([Note; NOTES]);

impl Default for Notes {
    fn default() -> Notes {
        Notes(
            [const {
                Note {
                    thread: AtomicUsize::new(0),
                    word: AtomicUsize::new(0),
                }
            }; NOTES],
        )
    }
}

impl Scoped {
    pub const fn new() -> Scoped {
        Scoped {
            specific: Specific::new(None),
            notes: PerProcess::new(),
            noted: AtomicBool::new(false),
        }
    }

    /// The calling thread's word.
    #[inline]
    pub fn get(&self) -> usize {
        match self.note() {
            Some(note) => note.word.load(Ordering::Relaxed),
            None => self.specific.get(),
        }
    }

    /// Sets the calling thread's word. `false`: there is no place for it, and it is
    /// what it was.
    pub fn set(&self, word: usize) -> bool {
        if let Some(note) = self.note() {
            // Where it is noted it stays until it is 0, even if the C library had
            // memory again.
            note.word.store(word, Ordering::Relaxed);
            if word == 0 {
                note.thread.store(0, Ordering::Release);
            }
            return true;
        }
        // What has no place is 0.
        self.specific.set(word) || word == 0 && self.specific.get() == 0 || self.begin(word)
    }

    /// The calling thread's note.
    #[inline]
    fn note(&self) -> Option<&'static Note> {
        if !self.noted.load(Ordering::Relaxed) {
            return None;
        }
        self.own_note()
    }

    #[cold]
    fn own_note(&self) -> Option<&'static Note> {
        let me = identity();
        let all = &self.notes.get().ok()?.0;
        // Relaxed: its own identity a thread has stored itself.
        all.iter()
            .find(|note| note.thread.load(Ordering::Relaxed) == me)
    }

    /// Takes a note for the calling thread.
    #[cold]
    fn begin(&self, word: usize) -> bool {
        let Ok(notes) = self.notes.get() else {
            return false;
        };
        let take = |note: &&Note| {
            note.thread
                .compare_exchange(0, identity(), Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        };
        let Some(note) = notes.0.iter().find(take) else {
            return false;
        };
        note.word.store(word, Ordering::Relaxed);
        self.noted.store(true, Ordering::Relaxed);
        true
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

    /// Of a process that has as many keys as it may.
    fn without_key() -> Scoped {
        let specific = Specific::new(None);
        specific.key.store(REFUSED, Ordering::Relaxed);
        Scoped {
            specific,
            ..Scoped::new()
        }
    }

    #[test]
    fn without_a_key_it_is_noted_of_each_thread_while_it_is_not_0() {
        let word = &*Box::leak(Box::new(without_key()));
        assert!(word.set(0));
        assert_eq!(word.get(), 0);
        for round in 1..4 {
            assert!(word.set(round));
            let others = std::thread::spawn(move || {
                let before = word.get();
                (before, word.set(8), word.get(), word.set(0), word.get())
            });
            assert_eq!(others.join().unwrap(), (0, true, 8, true, 0));
            assert_eq!(word.get(), round);
        }
        assert!(word.set(0));
        assert_eq!(word.get(), 0);
    }

    #[test]
    fn without_a_key_so_many_threads_have_one_and_others_are_told() {
        let word = &*Box::leak(Box::new(without_key()));
        let barrier = std::sync::Barrier::new(NOTES + 1);
        let noted = AtomicUsize::new(0);
        for round in 1..=2 {
            std::thread::scope(|scope| {
                for number in 1..=NOTES + 1 {
                    let (barrier, noted) = (&barrier, &noted);
                    scope.spawn(move || {
                        let set = word.set(number);
                        noted.fetch_add(set.into(), Ordering::Relaxed);
                        barrier.wait();
                        assert_eq!(word.get(), if set { number } else { 0 });
                        assert!(word.set(0));
                    });
                }
            });
            assert_eq!(noted.load(Ordering::Relaxed), round * NOTES);
        }
    }
}
