// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts of what a cache did and holds.

use super::Inner;
use super::entries::Stamp;
use std::sync::atomic::{AtomicU64, Ordering};

/// What one thread alone writes on a hit, apart from other threads' by two
/// cache lines: processors fetch them in pairs.
#[repr(align(128))]
pub(super) struct Shard {
    pub hits: AtomicU64,
    /// The last stamp that was made with the thread's clock.
    pub stamp: AtomicU64,
    /// Hits, second ones in a row, on entries that another thread owns.
    pub strangers: AtomicU64,
    /// Hits on entries where this thread does not count for itself, each after
    /// another thread's.
    pub turns: AtomicU64,
    /// Hits on shared entries.
    pub shared_hits: AtomicU64,
    /// References on shared entries, or its own, put back where this thread does not
    /// count.
    pub elsewhere: AtomicU64,
}

impl Shard {
    /// Of the thread of this number.
    pub const fn new(number: usize) -> Shard {
        Shard {
            hits: AtomicU64::new(0),
            stamp: AtomicU64::new(number as u64),
            strangers: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            shared_hits: AtomicU64::new(0),
            elsewhere: AtomicU64::new(0),
        }
    }
}

/// As only the thread may that the shard is of.
impl Shard {
    /// The next stamp of the thread of this number, after the epoch.
    #[inline]
    pub fn next(&self, epoch: u64, number: usize) -> u64 {
        let next = self.stamp.load(Ordering::Relaxed) + Stamp::TICK;
        if next <= epoch {
            Stamp::after(epoch, number)
        } else {
            next
        }
    }

    /// Counts a hit that was given this stamp.
    #[inline(always)]
    pub fn count_hit(&self, stamp: u64) {
        let hits = self.hits.load(Ordering::Relaxed).wrapping_add(1);
        self.hits.store(hits, Ordering::Relaxed);
        self.stamp.store(stamp, Ordering::Relaxed);
    }
}

/// A cache's statistics. Counts start at 0 when the cache is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Lookups that found a valid entry.
    pub hits: u64,
    /// Lookups by `get` that had to register.
    pub misses: u64,
    /// Calls of `register` that succeeded.
    pub registrations: u64,
    /// Calls of `register` that failed, those tried again included.
    pub register_failures: u64,
    /// Calls of `deregister`.
    pub deregistrations: u64,
    /// Entries that a larger registration took the place of.
    pub merges: u64,
    /// Entries dropped to make room.
    pub evictions: u64,
    /// Entries dropped because their mapping changed, or on request.
    pub invalidations: u64,
    /// Registrations that were not kept: no room, or memory that cannot be watched.
    pub uncached: u64,
    /// Registrations that turned out to have been made by another thread at the same time.
    pub duplicates: u64,
    /// Entries cached now.
    pub entries: u64,
    /// Bytes cached now.
    pub bytes: u64,
    /// Entries in use now, cached or not.
    pub in_use: u64,
    /// Bytes dropped and idle but not yet deregistered.
    pub unreleased_bytes: u64,
}

impl Inner {
    /// The hits of all threads.
    pub(super) fn hits(&self) -> u64 {
        // Relaxed: each count is exact once the threads that count are quiet.
        self.shards
            .iter()
            .map(|s| s.hits.load(Ordering::Relaxed))
            .sum()
    }

    pub(crate) fn statistics(&self) -> Statistics {
        let (mut statistics, used) = {
            let state = self.state.lock();
            let now = Statistics {
                entries: state.cached as u64,
                bytes: state.cached_bytes as u64,
                unreleased_bytes: state.backlog_bytes as u64,
                ..state.counts
            };
            (now, state.used_slots())
        };
        statistics.hits = self.hits();
        statistics.in_use = (0..used).filter(|&index| self.is_in_use(index)).count() as u64;
        statistics
    }
}

impl super::Cache {
    /// What the cache did and holds.
    pub fn statistics(&self) -> Result<Statistics, crate::errno::Errno> {
        self.inner.home.check()?;
        Ok(self.inner.statistics())
    }
}
