// SPDX-License-Identifier: MIT OR Apache-2.0
//! State words: one per region, in pages that outlive every monitor.
//!
//! `kdreg_valid` loads a region's word without asking anybody, at any time:
//! after the region, its monitor, or its handle is gone, and in a forked
//! child. So the words of a closed monitor are kept, with their counts, for
//! the next monitor, and a child finds them wiped to zero, which is no
//! generation.
//!
//! A word counts up: odd while its slot's region is armed (the odd value is
//! the generation handed out), even otherwise. A slot whose word cannot count
//! further is retired rather than let old generations come round again.

use crate::errno::Errno;
use crate::lock::Mutex;
use crate::memory;
use crate::monitor::change_log::Reader;
use crate::monitor::guard::Guard;
use crate::process::PerProcess;
use crate::reservation::{OnFork, Reservation};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// The most regions one monitor can hold. Address space for this many is
/// reserved, memory used only for those that exist.
pub(crate) const MAX_REGIONS: u32 = 1 << 20;

/// The words of one monitor, with its guard, and how far the log was read that
/// they follow, where there is one. Never unmapped.
pub(crate) struct StateWords {
    pub guard: Guard,
    pub reader: Reader,
    array: Reservation<AtomicU32>,
    /// The next of those that no monitor uses. Relaxed: under `Spare`'s lock.
    next: AtomicPtr<StateWords>,
}

impl StateWords {
    fn new() -> Result<&'static StateWords, Errno> {
        Ok(Box::leak(memory::try_box(StateWords {
            guard: Guard::new(),
            reader: Reader::new(),
            array: Reservation::new(MAX_REGIONS as usize, OnFork::Zero)?,
            next: AtomicPtr::new(std::ptr::null_mut()),
        })?))
    }

    /// Makes the words of slots below `count` usable. Calls the kernel.
    pub fn commit(&self, count: usize) -> Result<(), Errno> {
        self.array.commit(count)
    }

    /// How many words are usable.
    pub fn committed(&self) -> usize {
        self.array.committed()
    }

    /// The word of a slot, if there has been such a slot.
    pub fn find(&'static self, slot: u32) -> Option<&'static AtomicU32> {
        ((slot as usize) < self.array.committed()).then(|| self.array.at(slot))
    }

    /// The word of a slot.
    pub fn at(&'static self, slot: u32) -> &'static AtomicU32 {
        self.array.at(slot)
    }
}

/// Word arrays that no monitor uses at the moment: the first, which leads to the
/// next. Protected by a lock that is a leaf: nothing is called while it is held.
#[derive(Default)]
struct Spare(Mutex<Option<&'static StateWords>>);

impl Spare {
    fn take(&self) -> Option<&'static StateWords> {
        let mut spare = self.0.lock();
        let words = (*spare)?;
        // SAFETY: null, or words that `give_back` put there; none are ever freed.
        *spare = unsafe { words.next.load(Ordering::Relaxed).as_ref() };
        Some(words)
    }

    fn give_back(&self, words: &'static StateWords) {
        let mut first = self.0.lock();
        let next = first.map_or(std::ptr::null_mut(), |next| {
            std::ptr::from_ref(next).cast_mut()
        });
        words.next.store(next, Ordering::Relaxed);
        *first = Some(words);
    }
}

static SPARE: PerProcess<Spare> = PerProcess::new();

/// StateWords for a new monitor.
pub(crate) fn take() -> Result<&'static StateWords, Errno> {
    if let Some(words) = SPARE.get()?.take() {
        words.guard.renew();
        return Ok(words);
    }
    StateWords::new()
}

/// Gives the words of a closed monitor back; all of them are even.
pub(crate) fn give_back(words: &'static StateWords) {
    // Without the pool (no memory for it) they stay unused: harmless.
    if let Ok(spare) = SPARE.get() {
        spare.give_back(words);
    }
}

/// Arms a slot: the generation to hand out, or `None` when the slot is spent.
/// Under the owner's lock, which is what orders the writers of a word.
pub(crate) fn arm(word: &AtomicU32) -> Option<u32> {
    let count = word.load(Ordering::Relaxed);
    debug_assert!(count & 1 == 0, "slot armed twice");
    if count >= u32::MAX - 1 {
        return None;
    }
    // Release: whoever learns the generation learned it from a thread that
    // went through the owner's lock; the store itself publishes nothing more.
    word.store(count + 1, Ordering::Release);
    Some(count + 1)
}

/// Makes the generation an armed slot handed out invalid.
/// Under the owner's lock.
pub(crate) fn bump(word: &AtomicU32) {
    let count = word.load(Ordering::Relaxed);
    if count & 1 == 1 {
        // Release: pairs with the Acquire of the check; an event queued later
        // is never seen before the bump.
        word.store(count + 1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_never_come_round() {
        let word = AtomicU32::new(u32::MAX - 3);
        assert_eq!(arm(&word), Some(u32::MAX - 2));
        bump(&word);
        assert_eq!(word.load(Ordering::Relaxed), u32::MAX - 1);
        assert_eq!(arm(&word), None);
        bump(&word);
        assert_eq!(word.load(Ordering::Relaxed), u32::MAX - 1);
    }

    #[test]
    fn words_are_kept_for_the_next_monitor() {
        let words = take().unwrap();
        words.commit(1).unwrap();
        let generation = arm(words.at(0)).unwrap();
        bump(words.at(0));
        assert_ne!(words.at(0).load(Ordering::Relaxed), generation);
        give_back(words);
        assert!(words.at(0).load(Ordering::Relaxed) > generation);
    }

    #[test]
    fn those_that_were_given_back_serve_again() {
        let spare = Spare::default();
        assert!(spare.take().is_none());
        let [first, second] = [(); 2].map(|()| StateWords::new().unwrap());
        spare.give_back(first);
        spare.give_back(second);
        assert!(spare.take().is_some_and(|it| std::ptr::eq(it, second)));
        assert!(spare.take().is_some_and(|it| std::ptr::eq(it, first)));
        assert!(spare.take().is_none());
    }

    #[test]
    fn a_slot_that_never_was_has_no_word() {
        let words = StateWords::new().unwrap();
        assert!(words.find(0).is_none());
        words.commit(1).unwrap();
        let usable = words.committed() as u32;
        assert!(usable > 1);
        for slot in [0, 1, usable - 1] {
            let word = words.find(slot).unwrap();
            assert!(std::ptr::eq(word, words.at(slot)));
        }
        assert!(words.find(usable).is_none() && words.find(u32::MAX).is_none());
    }

    #[test]
    fn a_word_counts_by_one_and_only_what_is_armed_is_bumped() {
        let word = AtomicU32::new(4);
        bump(&word);
        assert_eq!(word.load(Ordering::Relaxed), 4);
        assert_eq!(arm(&word), Some(5));
        bump(&word);
        bump(&word);
        assert_eq!(word.load(Ordering::Relaxed), 6);
        assert_eq!(arm(&word), Some(7));
    }
}
