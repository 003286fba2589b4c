// SPDX-License-Identifier: MIT OR Apache-2.0
//! How many mappings may be watched: the address space is the application's.
//!
//! A process may have `vm.max_map_count` mappings. Watching one as a whole
//! makes no new mapping, but what the application maps beside it later stays a
//! mapping of its own where the two would have become one. So each watch can
//! cost the application one or two of its mappings, later. It gets to keep a
//! quarter of all, whatever it does:
//! * a quarter of all is watched at most, and
//! * beyond a few, nothing new is watched while three quarters are in use.

use super::mappings::{Mappings, max_map_count};
use super::registered::Instant;

/// So few are watched in any case.
const FEW: usize = 16;

/// Mappings are counted again when this many more are watched, if not before:
/// counting reads /proc/self/maps.
const STEP: usize = 256;

/// Milliseconds between two counts while there is no room, at least.
const PAUSE: Instant = 100;

/// Of which one part in so many may go into counting.
const SHARE: Instant = 10;

pub(super) struct Headroom {
    most: usize,
    /// How many mappings there were, when so many were watched, and when.
    counted: usize,
    at: usize,
    when: Instant,
    /// How long, in milliseconds, such a count is good for while there is no room.
    pause: Instant,
    /// Whether it has been said that there is no room.
    said: bool,
}

impl Headroom {
    pub const fn new() -> Headroom {
        Headroom {
            most: 0,
            counted: 0,
            at: 0,
            when: 0,
            pause: PAUSE,
            said: false,
        }
    }

    /// Whether another one may be watched besides `watched`.
    pub fn room(&mut self, watched: usize, now: Instant) -> bool {
        let mut took = None;
        let count = || {
            let begun = std::time::Instant::now();
            let count = Mappings::count().unwrap_or(usize::MAX);
            took = Some(begun.elapsed().as_millis() as Instant);
            count
        };
        let room = self.decide(watched, now, max_map_count, count);
        // With many mappings, on a busy machine, counting takes longer than the
        // pause: without this every registration would count.
        if let Some(took) = took {
            self.pause = PAUSE.max(SHARE * took);
        }
        room
    }

    fn decide(
        &mut self,
        watched: usize,
        now: Instant,
        most: impl FnOnce() -> usize,
        count: impl FnOnce() -> usize,
    ) -> bool {
        if watched < FEW {
            return true;
        }
        // A quarter of what was free then may have been used up since.
        let free = self.limit().saturating_sub(self.counted);
        let stale = match self.most {
            0 => true,
            _ if free == 0 || watched >= self.most / 4 => now - self.when >= self.pause,
            _ => watched.abs_diff(self.at) >= STEP.min(free / 4 + 1),
        };
        if stale {
            self.most = most();
            self.counted = count();
            (self.at, self.when) = (watched, now);
        }
        watched < self.most / 4 && self.counted < self.limit()
    }

    /// Whether it is to be said that there is no room: the first time only.
    pub fn say_it(&mut self) -> bool {
        !std::mem::replace(&mut self.said, true)
    }

    /// Nothing new is watched while so many mappings are there.
    fn limit(&self) -> usize {
        self.most - self.most / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_stays_the_applications() {
        let mut headroom = Headroom::new();
        // The application watches each mapping it makes, and makes no other.
        let mut mappings = 100;
        let mut now = 0;
        while headroom.decide(mappings - 100, now, || 10_000, || mappings) {
            mappings += 1;
            now += 1;
        }
        assert_eq!(mappings - 100, 2_500);
    }

    #[test]
    fn where_the_application_has_many_little_is_watched() {
        let mut headroom = Headroom::new();
        let mut watched = 0;
        while headroom.decide(watched, 0, || 10_000, || 8_000) {
            watched += 1;
        }
        assert_eq!(watched, FEW);
        // It is said once.
        assert!(headroom.say_it() && !headroom.say_it());
        // Not counted again at once, but before long.
        assert!(!headroom.decide(watched, 1, || 10_000, || 100));
        assert!(headroom.decide(watched, PAUSE, || 10_000, || 100));
    }

    #[test]
    fn growth_is_noticed_in_time() {
        let mut headroom = Headroom::new();
        let mut watched = 0;
        let mut mappings = 4_000;
        // Each watch goes with five new mappings.
        while headroom.decide(watched, 0, || 10_000, || mappings) {
            watched += 1;
            mappings += 5;
        }
        assert!((7_000..8_000).contains(&mappings), "{mappings}");
    }
}
