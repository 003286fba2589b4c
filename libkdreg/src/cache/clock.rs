// SPDX-License-Identifier: MIT OR Apache-2.0
//! When an entry was used, and how often the cache was: what a hit writes
//! besides its reference.

use super::Inner;
use super::entries::{Entry, Stamp};
use super::state::State;
use crate::threads;
use std::sync::atomic::Ordering;

impl Inner {
    /// Records a use by the thread of this number: the entry's stamp, and the
    /// thread's count of hits.
    ///
    /// Each thread has a clock of its own, so that stamping shares no cache
    /// line between threads. Seen from one thread stamps are in exact order;
    /// between threads they are as close as the last miss.
    #[inline]
    pub(super) fn touch(&self, entry: &Entry, number: usize) {
        if number != threads::SHARED_NUMBER {
            return self.touch_own(entry, number);
        }
        let shard = &self.shards[number];
        shard.hits.fetch_add(1, Ordering::Relaxed);
        shard
            .clock
            .fetch_max(self.epoch.load(Ordering::Relaxed), Ordering::Relaxed);
        let clock = shard.clock.fetch_add(1, Ordering::Relaxed) + 1;
        entry
            .stamp
            .store(Stamp::at(clock, number), Ordering::Relaxed);
    }

    /// As `touch`, for a number that is the thread's own: no other thread
    /// writes its shard.
    #[inline(always)]
    pub(super) fn touch_own(&self, entry: &Entry, number: usize) {
        let stamp = self.count_hit(number);
        // A racing touch may leave the older of two stamps; both are recent.
        entry.stamp.store(stamp, Ordering::Relaxed);
    }

    /// Counts a hit of the thread that this number is its own; returns its
    /// stamp.
    #[inline(always)]
    pub(super) fn count_hit(&self, number: usize) -> u64 {
        let shard = &self.shards[number];
        shard
            .hits
            .store(shard.hits.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        let epoch = self.epoch.load(Ordering::Relaxed);
        let clock = shard.clock.load(Ordering::Relaxed).max(epoch) + 1;
        shard.clock.store(clock, Ordering::Relaxed);
        Stamp::at(clock, number)
    }

    /// The next stamp of the calling thread's clock, by the thread's number,
    /// which also becomes the epoch that the other threads' clocks do not fall
    /// behind: later than any that an entry in `state`'s queue is filed under.
    pub(super) fn tick(&self, state: &State, number: usize) -> u64 {
        let shard = &self.shards[number];
        let epoch = self
            .epoch
            .load(Ordering::Relaxed)
            .max(Stamp::clock(state.lru.newest()));
        let clock = if number == threads::SHARED_NUMBER {
            shard.clock.fetch_max(epoch, Ordering::Relaxed);
            shard.clock.fetch_add(1, Ordering::Relaxed) + 1
        } else {
            let clock = shard.clock.load(Ordering::Relaxed).max(epoch) + 1;
            shard.clock.store(clock, Ordering::Relaxed);
            clock
        };
        // Written under the lock only. Relaxed: a clock that misses it is late
        // by one miss.
        self.epoch.store(clock, Ordering::Relaxed);
        Stamp::at(clock, number)
    }
}
