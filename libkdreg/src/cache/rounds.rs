// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rounds of waiting for what is being released (`undoing`).

/// Which there were, and what the last of them waits for. Protected by the cache's
/// lock.
pub(super) struct Rounds {
    /// How many were begun.
    pub begun: u64,
    /// Entries are still being marked for the last of them.
    pub opening: bool,
    /// Marked entries that are not released yet.
    pub marked: usize,
    /// Threads that wait.
    pub waiting: usize,
}

impl Rounds {
    pub const NONE: Rounds = Rounds {
        begun: 0,
        opening: false,
        marked: 0,
        waiting: 0,
    };

    /// Whether none is under way: the last has ended.
    pub fn is_idle(&self) -> bool {
        self.marked == 0 && !self.opening
    }

    /// Whether that one has ended.
    pub fn is_over(&self, round: u64) -> bool {
        self.begun > round || self.begun == round && self.is_idle()
    }
}
