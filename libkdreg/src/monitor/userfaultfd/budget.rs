// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much time may go into letting mappings go at once.
//!
//! Letting go of a mapping walks its page tables: milliseconds where it is large.
//! Whoever flushes wants that at once, and a program that flushes again and again
//! should not pay for it each time: of all time, a tenth may go into it, and what
//! was not used is kept for later, up to a limit.

use std::time::Duration;

/// One part in so many.
const SHARE: u32 = 10;

/// As much is kept for later.
const MOST: Duration = Duration::from_millis(100);

pub(super) struct Budget {
    left: Duration,
    /// What was spent beyond that.
    debt: Duration,
    /// When `left` was reckoned last, on a clock that only goes forward.
    at: Duration,
}

impl Budget {
    pub const fn new() -> Budget {
        Budget {
            left: MOST,
            debt: Duration::ZERO,
            at: Duration::ZERO,
        }
    }

    /// Whether there is time to spend.
    pub fn any(&mut self, now: Duration) -> bool {
        let earned = now.saturating_sub(self.at) / SHARE;
        let paid = earned.min(self.debt);
        self.debt -= paid;
        self.left = (self.left + (earned - paid)).min(MOST);
        self.at = now;
        !self.left.is_zero()
    }

    /// Spends some, which may be more than there was.
    pub fn spend(&mut self, time: Duration) {
        self.debt += time.saturating_sub(self.left);
        self.left = self.left.saturating_sub(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_time_is_spent() {
        let mut budget = Budget::new();
        let step = Duration::from_millis(1);
        let (mut now, mut spent) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..10_000 {
            if budget.any(now) {
                let cost = 5 * step;
                budget.spend(cost);
                spent += cost;
                now += cost;
            }
            now += step;
        }
        let allowed = MOST + now / SHARE + 5 * step;
        assert!(spent <= allowed && spent * 2 > allowed, "{spent:?} {now:?}");
    }
}
