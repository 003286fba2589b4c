// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where registrations may have gone or come by themselves: what the handler
//! read of mappings that were taken away or moved, for whoever next looks at
//! the list of what is registered (`watched`).
//!
//! One writer, the handler, which waits for nobody: a ring, and a note when it
//! was too small. One reader at a time, by the lock of that list.

use crate::range::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// Places in the ring. Whoever monitors or drains takes out what is there, so
/// more are needed only where much is unmapped between two such calls.
const PLACES: u32 = 512;

pub(super) struct Removals {
    ring: [[AtomicUsize; 2]; PLACES as usize],
    /// Counts what was written and what was taken out.
    written: AtomicU32,
    taken: AtomicU32,
    /// Something did not fit.
    lost: AtomicBool,
}

impl Removals {
    pub const fn new() -> Removals {
        Removals {
            ring: [const { [const { AtomicUsize::new(0) }; 2] }; PLACES as usize],
            written: AtomicU32::new(0),
            taken: AtomicU32::new(0),
            lost: AtomicBool::new(false),
        }
    }

    /// Notes a range; by the handler.
    pub fn note(&self, range: Range) {
        let written = self.written.load(Ordering::Relaxed);
        // Acquire: pairs with the Release in `next`: the place was read.
        if written.wrapping_sub(self.taken.load(Ordering::Acquire)) == PLACES {
            // Release: as below.
            self.lost.store(true, Ordering::Release);
            return;
        }
        let [start, end] = &self.ring[(written % PLACES) as usize];
        start.store(range.start(), Ordering::Relaxed);
        end.store(range.end(), Ordering::Relaxed);
        // Release: pairs with the Acquire in `next`, which reads the place.
        self.written
            .store(written.wrapping_add(1), Ordering::Release);
    }

    /// How many there are to be taken out; by the holder of the list's lock.
    #[inline]
    pub fn waiting(&self) -> u32 {
        // Acquire: pairs with the Release in `note`.
        let written = self.written.load(Ordering::Acquire);
        written.wrapping_sub(self.taken.load(Ordering::Relaxed))
    }

    /// Takes one out; by the holder of the list's lock.
    pub fn next(&self) -> Option<Range> {
        if self.waiting() == 0 {
            return None;
        }
        let taken = self.taken.load(Ordering::Relaxed);
        let [start, end] = &self.ring[(taken % PLACES) as usize];
        let range = Range::between(start.load(Ordering::Relaxed), end.load(Ordering::Relaxed));
        // Release: pairs with the Acquire in `note`, which writes here again.
        self.taken.store(taken.wrapping_add(1), Ordering::Release);
        Some(range)
    }

    /// Whether more was noted than there was room for, since this was asked last.
    #[inline]
    pub fn any_lost(&self) -> bool {
        // Acquire: pairs with the Release in `note`.
        self.lost.load(Ordering::Relaxed) && self.lost.swap(false, Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_comes_out_in_order_and_nothing_goes_unsaid() {
        let removals = Removals::new();
        assert_eq!((removals.next(), removals.any_lost()), (None, false));
        for round in 0..3 {
            for number in 1..=PLACES as usize + 1 {
                removals.note(Range::between(number, number + 1));
            }
            assert_eq!(removals.waiting(), PLACES);
            for number in 1..=PLACES as usize {
                let range = Range::between(number, number + 1);
                assert_eq!(removals.next(), Some(range), "{round}");
            }
            assert_eq!(removals.next(), None);
            assert!(removals.any_lost() && !removals.any_lost());
        }
    }
}
