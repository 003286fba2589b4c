// SPDX-License-Identifier: MIT OR Apache-2.0
//! Priorities, how many entries have which, and whose turn it is to be evicted
//! ([`priority`](super::priority)).

/// The priority of what is never evicted.
pub const PINNED: u8 = u8::MAX;

/// How many live entries have a priority: any, and each.
pub(super) struct Kept {
    pub any: usize,
    pub each: [u32; PINNED as usize + 1],
}

impl Kept {
    pub const NONE: Kept = Kept {
        any: 0,
        each: [0; PINNED as usize + 1],
    };
}

/// Whose turn it is to be evicted.
pub(super) struct Turn {
    /// Entries of no larger priority.
    most: u8,
    /// The smallest that was passed over; `PINNED`: none that can be evicted.
    passed: u8,
}

impl Turn {
    /// The turn of a priority; the pinned have none.
    pub fn of(priority: u8) -> Option<Turn> {
        (priority != PINNED).then_some(Turn {
            most: priority,
            passed: PINNED,
        })
    }

    /// Whether it is the turn of this priority.
    pub fn is_of(&mut self, priority: u8) -> bool {
        if priority > self.most {
            self.passed = self.passed.min(priority);
        }
        priority <= self.most
    }

    /// The turn after this one, in which nothing was evicted.
    pub fn next(self) -> Option<Turn> {
        Turn::of(self.passed)
    }
}
