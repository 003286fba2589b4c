// SPDX-License-Identifier: MIT OR Apache-2.0
//! What few entries have, apart from the line that a hit touches: the watches
//! of the ranges that a merged registration was made of, and what the caller
//! said has changed of one that is in use.
//!
//! A cache of which no entry ever had any of it does not touch this memory.

use super::cause::Cause;
use super::pieces::{Pieces, Watch};
use super::waiting::AllWaiting;
use crate::range::Range;
use crate::reservation::Zeroed;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering};

/// How many ranges are kept apart that were said to have changed.
const RANGES: usize = 3;

/// Beside one entry. All zero: it has nothing.
#[repr(C)]
pub(crate) struct Extra {
    /// The watches of what it was merged from. Written before the entry is
    /// published, and by who releases it.
    pub(super) pieces: AtomicPtr<Pieces>,
    /// The entry's own region, where others watch it, too. Release when set,
    /// under the lock; taken by who releases the entry.
    pub(super) own: AtomicPtr<Watch>,
    /// What is to be called when it has been deregistered.
    pub(super) waiting: AllWaiting,
    /// Ranges that were said to have changed since it was got; the last one may
    /// be the hull of several. An end of 0: none. Written under the lock.
    changed: [(AtomicUsize, AtomicUsize); RANGES],
    /// Why it was dropped, while somebody is to be told; 0: nobody is. Under the
    /// lock, or by who releases the entry.
    cause: AtomicU8,
    /// In the list of those ([`Untold`](super::untold::Untold)): the next one.
    pub(super) next: AtomicU32,
    /// It is not to be merged. Written before the entry is published.
    apart: AtomicBool,
    /// How late it is evicted; 0 unless it is live. Under the lock.
    priority: AtomicU8,
    /// Somebody waits until it is released. Under the lock.
    awaited: AtomicBool,
}

// SAFETY: null pointers and zeroes are an entry without any of it; what it owns
// is given back by who releases the entry.
unsafe impl Zeroed for Extra {}

impl Extra {
    pub fn set_cause(&self, cause: Option<Cause>) {
        let number = cause.map_or(0, |cause| cause as u8);
        self.cause.store(number, Ordering::Relaxed);
    }

    pub fn cause(&self) -> Option<Cause> {
        Cause::from_number(self.cause.load(Ordering::Relaxed))
    }

    /// Keeps the entry, which is not published yet, from being merged.
    pub fn set_apart(&self) {
        // Relaxed: published with the entry.
        self.apart.store(true, Ordering::Relaxed);
    }

    pub fn is_apart(&self) -> bool {
        self.apart.load(Ordering::Relaxed)
    }

    pub fn priority(&self) -> u8 {
        self.priority.load(Ordering::Relaxed)
    }

    /// Returns the former one.
    pub fn set_priority(&self, priority: u8) -> u8 {
        self.priority.swap(priority, Ordering::Relaxed)
    }

    /// Returns what it was before.
    pub fn set_awaited(&self, awaited: bool) -> bool {
        self.awaited.swap(awaited, Ordering::Relaxed)
    }

    /// Notes that `range` has changed, by what the caller says. Under the lock.
    pub fn mark_changed(&self, range: Range) {
        let mut places = self.changed.iter();
        while let Some((start, end)) = places.next() {
            let known = end.load(Ordering::Relaxed);
            let mut marked = range;
            if known != 0 {
                let before = Range::between(start.load(Ordering::Relaxed), known);
                if before.contains(range) {
                    return;
                }
                // The last place takes what has none of its own.
                if places.len() > 0 {
                    continue;
                }
                marked = before.hull(range);
            }
            start.store(marked.start(), Ordering::Relaxed);
            // Release: pairs with the Acquire in `is_marked`.
            end.store(marked.end(), Ordering::Release);
            return;
        }
    }

    /// Whether any of `range` was said to have changed.
    pub fn is_marked(&self, range: Range) -> bool {
        self.changed.iter().any(|(start, end)| {
            // Acquire: pairs with the Release above.
            let end = end.load(Ordering::Acquire);
            end != 0 && Range::between(start.load(Ordering::Relaxed), end).overlaps(range)
        })
    }

    /// For the next entry in this slot. By who releases the entry.
    pub fn clear(&self) {
        self.apart.store(false, Ordering::Relaxed);
        for (_, end) in &self.changed {
            end.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: usize, length: usize) -> Range {
        Range::new(start << 12, length << 12).unwrap()
    }

    #[test]
    fn each_has_its_own_place() {
        // SAFETY: all zero is an entry without anything.
        let extra: Extra = unsafe { std::mem::zeroed() };
        let all = || (extra.cause(), extra.is_apart(), extra.priority());
        assert_eq!(all(), (None, false, 0));
        extra.set_cause(Some(Cause::Evicted));
        assert_eq!(all(), (Some(Cause::Evicted), false, 0));
        extra.set_apart();
        assert_eq!(extra.set_priority(2), 0);
        assert_eq!(extra.set_priority(1), 2);
        assert_eq!(all(), (Some(Cause::Evicted), true, 1));
        assert!(!extra.set_awaited(true) && extra.set_awaited(false) && !extra.set_awaited(false));
        extra.mark_changed(range(10, 1));
        // What is over by then is not for this to end.
        extra.clear();
        assert_eq!(all(), (Some(Cause::Evicted), false, 1));
        assert!(!extra.is_marked(range(10, 1)));
        extra.set_cause(None);
        assert_eq!(extra.cause(), None);
    }

    #[test]
    fn ranges_are_kept_apart_while_there_is_room() {
        // SAFETY: all zero is an entry without anything.
        let extra: Extra = unsafe { std::mem::zeroed() };
        assert!(!extra.is_marked(range(0, 1000)));
        extra.mark_changed(range(10, 1));
        extra.mark_changed(range(20, 1));
        extra.mark_changed(range(10, 1));
        assert!(extra.is_marked(range(10, 1)) && extra.is_marked(range(20, 5)));
        assert!(!extra.is_marked(range(11, 9)));
        extra.mark_changed(range(30, 1));
        extra.mark_changed(range(40, 1));
        assert!(!extra.is_marked(range(21, 9)));
        // Those have one place together: more is said than is known, not less.
        assert!(extra.is_marked(range(40, 1)) && extra.is_marked(range(30, 1)));
        extra.clear();
        assert!(!extra.is_marked(range(0, 1000)));
    }
}
