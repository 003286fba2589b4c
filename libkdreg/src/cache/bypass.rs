// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether keeping what is registered now is worth it.
//!
//! Where no buffer is ever used twice, watching, filing and dropping each
//! registration is work for nothing. With [`Options::bypass`] the cache looks
//! back: after a window of misses without one hit, registrations of the next
//! window are handed out uncached, but for its first one. That one is the
//! sample by which a hit can be seen again; a window with a hit ends it.
//!
//! [`Options::bypass`]: super::Options::bypass

/// Misses between two looks back. What is watched for nothing, where nothing
/// is reused, is one registration in this many; where reuse begins, buffers
/// are registered anew for about this many misses before it is noticed.
const WINDOW: u32 = 64;

/// Protected by the cache's lock.
pub(super) struct Bypass {
    /// Misses left in this window.
    left: u32,
    /// The cache's hits when the window began.
    hits: u64,
    /// Nothing but the first of the window is kept.
    on: bool,
}

impl Bypass {
    pub const fn new() -> Bypass {
        Bypass {
            left: WINDOW,
            hits: 0,
            on: false,
        }
    }

    /// Notes a miss; whether its registration is to be kept. `hits` counts the
    /// cache's hits so far, and is asked once per window.
    pub fn keep(&mut self, hits: impl FnOnce() -> u64) -> bool {
        if self.left > 0 {
            self.left -= 1;
            return !self.on;
        }
        let hits = hits();
        self.on = hits == self.hits;
        self.hits = hits;
        self.left = WINDOW - 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `count` misses are kept.
    fn kept(bypass: &mut Bypass, count: u32, hits: u64) -> u32 {
        (0..count).map(|_| u32::from(bypass.keep(|| hits))).sum()
    }

    #[test]
    fn without_hits_one_in_a_window_is_kept() {
        let mut bypass = Bypass::new();
        assert_eq!(kept(&mut bypass, WINDOW, 0), WINDOW);
        assert_eq!(kept(&mut bypass, 10 * WINDOW, 0), 10);
    }

    #[test]
    fn a_hit_ends_it_with_the_window() {
        let mut bypass = Bypass::new();
        kept(&mut bypass, 3 * WINDOW, 0);
        assert_eq!(kept(&mut bypass, WINDOW, 1), WINDOW);
        // One window without a hit, and it is back.
        assert_eq!(kept(&mut bypass, WINDOW, 1), 1);
    }

    #[test]
    fn where_there_are_hits_all_is_kept() {
        let mut bypass = Bypass::new();
        for window in 1..100 {
            assert_eq!(kept(&mut bypass, WINDOW, window), WINDOW);
        }
    }
}
