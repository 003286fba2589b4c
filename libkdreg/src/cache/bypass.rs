// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether keeping what is registered now is worth it.
//!
//! Where no buffer is ever used twice, watching, filing and dropping each
//! registration is work for nothing. With [`Options::bypass`] the cache looks
//! back: after a window of misses without one hit, registrations are handed
//! out uncached, but for samples, by which a hit can be seen again. The first
//! hit ends it.
//!
//! [`Options::bypass`]: super::Options::bypass

/// Misses without a hit after which nothing but samples is kept.
const WINDOW: u32 = 64;

/// Misses from one sample to the next, at first; each time it is twice as
/// many, up to `RARELY`. So reuse that begins soon is noticed soon, and where
/// none does, one registration in 128 is watched for nothing: that one costs as
/// much as dozens of others, since its end must be noticed by a thread.
const SOON: u32 = 8;
const RARELY: u32 = 128;

/// While samples are out: misses between two looks at the hits.
const LOOK: u32 = 16;

/// Protected by the cache's lock.
pub(super) struct Bypass {
    /// Misses until the next look back, or sample.
    left: u32,
    /// The cache's hits when it was looked last.
    hits: u64,
    /// Misses from sample to sample; 0: everything is kept.
    interval: u32,
}

impl Bypass {
    pub const fn new() -> Bypass {
        Bypass {
            left: WINDOW,
            hits: 0,
            interval: 0,
        }
    }

    /// Notes a miss; whether its registration is to be kept. `hits` counts the
    /// cache's hits so far, and is not asked each time.
    pub fn keep(&mut self, hits: impl FnOnce() -> u64) -> bool {
        self.left = self.left.saturating_sub(1);
        let sampling = self.interval > 0;
        if self.left > 0 && !(sampling && self.left % LOOK == 0) {
            return !sampling;
        }
        let hits = hits();
        if hits != self.hits {
            *self = Bypass {
                hits,
                ..Bypass::new()
            };
            return true;
        }
        if self.left > 0 {
            return false;
        }
        self.interval = (self.interval * 2).clamp(SOON, RARELY);
        self.left = self.interval;
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
    fn without_hits_few_are_kept() {
        let mut bypass = Bypass::new();
        assert_eq!(kept(&mut bypass, WINDOW, 0), WINDOW);
        assert_eq!(kept(&mut bypass, 8 + 16 + 32 + 64, 0), 4);
        assert_eq!(kept(&mut bypass, 10 * RARELY, 0), 10);
    }

    #[test]
    fn hits_are_not_asked_for_each_time() {
        let mut bypass = Bypass::new();
        kept(&mut bypass, WINDOW + 8 + 16 + 32 + 64, 0);
        let mut asked = Vec::new();
        for miss in 1..=RARELY {
            bypass.keep(|| {
                asked.push(miss);
                0
            });
        }
        let looks: Vec<u32> = (1..=RARELY / LOOK).map(|look| look * LOOK).collect();
        assert_eq!(asked, looks);
    }

    #[test]
    fn the_first_hit_ends_it() {
        let mut bypass = Bypass::new();
        kept(&mut bypass, 5 * WINDOW, 0);
        assert!(kept(&mut bypass, WINDOW, 1) > WINDOW - 2 * LOOK);
        // Without another one it is back before long.
        assert!(kept(&mut bypass, 10 * WINDOW, 1) < 2 * WINDOW);
    }

    #[test]
    fn where_there_are_hits_all_is_kept() {
        let mut bypass = Bypass::new();
        for window in 1..100 {
            assert_eq!(kept(&mut bypass, WINDOW, window), WINDOW);
        }
    }
}
