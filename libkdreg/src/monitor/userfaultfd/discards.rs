// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was discarded lately.
//!
//! Where the event of a discard is read before its pages are taken
//! (`Backend::discards_are_ordered`), nothing tells
//! when they are. A registration over pages that are asked for while another
//! thread discards them may be of those that go. No program has a use for that
//! of the very pages; but one may ask for a pool of buffers while one of them
//! is being given back. So what is asked for is not kept while a part of it was
//! discarded lately. When a discard has been read long ago, the thread that made
//! it has gone on: it has to do no more for it than to be given a processor.
//! This is likely, not certain, and it is the only thing here that is: pages
//! that nobody asks for meanwhile are safe without (`cache::serving`).
//!
//! Who asks for what was discarded as a whole, or for less, is taken for its
//! owner, who has discarded it and uses it again.
//!
//! Of an event the handler notes the range here first and marks the armed
//! regions second; a miss arms its region first and looks here second. So either
//! the note is there to be seen, or the region is marked. Neither waits for the
//! other.

use crate::range::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// How long after its event a discard may still be about to take pages: as
/// long as a thread that can run is kept from it on a machine that is short of
/// processors, and more.
pub(super) const LATELY: u64 = 100_000_000;

/// Discards that are told apart. Those beyond are taken for one.
const PLACES: usize = 32;

/// What was discarded, and when, in nanoseconds; `when` 0: nothing was.
struct Place {
    start: AtomicUsize,
    end: AtomicUsize,
    /// The lowest bit says that it was not discarded as a whole.
    when: AtomicU64,
}

const IN_PARTS: u64 = 1;

/// See the module's documentation. One thread at a time notes.
pub(super) struct Discards {
    /// Odd while a place is being written.
    sequence: AtomicU32,
    /// When the last one was; 0: there was none.
    last: AtomicU64,
    places: [Place; PLACES],
}

impl Discards {
    pub fn new() -> Discards {
        Discards {
            sequence: AtomicU32::new(0),
            last: AtomicU64::new(0),
            places: [const {
                Place {
                    start: AtomicUsize::new(0),
                    end: AtomicUsize::new(0),
                    when: AtomicU64::new(0),
                }
            }; PLACES],
        }
    }

    /// Notes a discard, at a time that is not 0.
    pub fn note(&self, range: Range, now: u64) {
        // Relaxed loads: this thread is the only one that stores.
        let recent = |place: &Place| {
            let when = place.when.load(Ordering::Relaxed);
            when != 0 && now.saturating_sub(when) < LATELY
        };
        let known = |place: &Place| {
            let start = place.start.load(Ordering::Relaxed);
            Range::between(start, place.end.load(Ordering::Relaxed))
        };
        let same =
            |place: &&Place| place.when.load(Ordering::Relaxed) != 0 && known(place) == range;
        let near = |place: &&Place| {
            recent(place) && (known(place).overlaps(range) || known(place).touches(range))
        };
        let place = self
            .places
            .iter()
            .find(same)
            .or_else(|| self.places.iter().find(near))
            .or_else(|| self.places.iter().find(|place| !recent(place)))
            .unwrap_or(&self.places[0]);
        let (range, when) = if recent(place) && !same(&place) {
            (range.hull(known(place)), now | IN_PARTS)
        } else if same(&place) && recent(place) {
            let parts = place.when.load(Ordering::Relaxed) & IN_PARTS;
            (range, now & !IN_PARTS | parts)
        } else {
            (range, (now & !IN_PARTS).max(2))
        };
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence
            .store(sequence.wrapping_add(1), Ordering::Relaxed);
        // Release: whoever sees one of the stores below sees the odd count.
        // Pairs with the Acquire fence in `lately`.
        fence(Ordering::Release);
        place.start.store(range.start(), Ordering::Relaxed);
        place.end.store(range.end(), Ordering::Relaxed);
        place.when.store(when, Ordering::Relaxed);
        // Release: whoever sees the even count sees the stores above.
        self.sequence
            .store(sequence.wrapping_add(2), Ordering::Release);
        // Release: pairs with the Acquire in `lately`.
        self.last.store(now, Ordering::Release);
    }

    /// Whether a part of `range` was discarded less than [`LATELY`] ago; `now` is
    /// not asked for when nothing ever was. In doubt it was.
    #[inline]
    pub fn lately(&self, range: Range, now: impl FnOnce() -> u64) -> bool {
        // Acquire: pairs with the Release in `note`.
        let last = self.last.load(Ordering::Acquire);
        last != 0 && {
            let now = now();
            now.saturating_sub(last) < LATELY && self.is_among(range, now)
        }
    }

    #[cold]
    fn is_among(&self, range: Range, now: u64) -> bool {
        // Acquire: pairs with the Release of the even count.
        let before = self.sequence.load(Ordering::Acquire);
        let found = self.places.iter().any(|place| {
            let when = place.when.load(Ordering::Relaxed);
            let (start, end) = (
                place.start.load(Ordering::Relaxed),
                place.end.load(Ordering::Relaxed),
            );
            let whole = when & IN_PARTS == 0 && start <= range.start() && range.end() <= end;
            when != 0
                && now.saturating_sub(when) < LATELY
                && start < range.end()
                && range.start() < end
                && !whole
        });
        // Acquire: pairs with the Release fence in `note`: if anything read
        // above is newer than `before`, this is, too.
        fence(Ordering::Acquire);
        found || before & 1 != 0 || self.sequence.load(Ordering::Relaxed) != before
    }
}

/// Nanoseconds on a clock that goes on by itself, to a few milliseconds; not 0.
/// No system call.
pub(super) fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec to a local variable. It cannot fail: the
    // clock is there since Linux 2.6.32.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    (time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(first: usize, count: usize) -> Range {
        Range::between(first << 12, (first + count) << 12)
    }

    #[test]
    fn of_what_was_discarded_a_part_is_known_for_a_while() {
        let discards = Discards::new();
        assert!(!discards.lately(pages(0, 100), || unreachable!("nothing was discarded")));
        discards.note(pages(4, 2), 2);
        for (range, lately) in [
            (pages(0, 100), true),
            (pages(3, 2), true),
            (pages(5, 2), true),
            (pages(4, 3), true),
            // All of it was.
            (pages(4, 2), false),
            (pages(5, 1), false),
            // Nothing was.
            (pages(3, 1), false),
            (pages(6, 1), false),
        ] {
            assert_eq!(discards.lately(range, || LATELY), lately, "{range:?}");
            assert!(!discards.lately(range, || LATELY + 4), "{range:?}");
        }
        // The same again.
        discards.note(pages(4, 2), LATELY);
        assert!(!discards.lately(pages(4, 2), || LATELY));
        assert!(discards.lately(pages(4, 3), || 2 * LATELY - 2));
    }

    /// One that begins where another ended a moment ago is one with it, so that
    /// to discard much, page by page, takes one place. All of it was discarded,
    /// but not as a whole.
    #[test]
    fn what_is_discarded_in_parts_was_not_as_a_whole() {
        let discards = Discards::new();
        (0..1000).for_each(|page| discards.note(pages(page, 1), 2));
        assert!(discards.lately(pages(0, 1000), || 2));
        assert!(discards.lately(pages(500, 1), || 2));
        assert!(!discards.lately(pages(1000, 1), || 2));
        discards.note(pages(0, 1000), 2);
        assert!(discards.lately(pages(0, 1000), || 2));
        // Later it is.
        discards.note(pages(0, 1000), LATELY + 4);
        assert!(!discards.lately(pages(0, 1000), || LATELY + 4));
    }

    #[test]
    fn there_may_be_more_than_there_are_places() {
        let discards = Discards::new();
        (1..1000).for_each(|page| discards.note(pages(page * 2000, 1), 2));
        assert!((1..1000).all(|page| discards.lately(pages(page * 2000, 2), || 2)));
        assert!(!discards.lately(pages(0, 1 << 30), || LATELY + 4));
        // And then there is room again.
        discards.note(pages(7, 1), LATELY + 4);
        assert!(!discards.lately(pages(9, 1 << 30), || LATELY + 4));
        assert!(discards.lately(pages(7, 2), || LATELY + 4));
    }
}
