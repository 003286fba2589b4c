// SPDX-License-Identifier: MIT OR Apache-2.0
//! When an entry was used, and how often the cache was: what a hit writes
//! besides its reference.

use super::Inner;
use super::entries::{Entry, Stamp};
use super::refs::AtOwn;
use super::state::State;
use super::statistics::Shard;
use crate::hazard::Owner;
use crate::thread_registry::{self, OWN_NUMBERS};
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
        if number != thread_registry::SHARED_NUMBER {
            return self.touch_own(entry, number);
        }
        let shard = &self.shards[number];
        shard.hits.fetch_add(1, Ordering::Relaxed);
        let epoch = self.epoch.load(Ordering::Relaxed);
        shard
            .stamp
            .fetch_max(Stamp::before(epoch, number), Ordering::Relaxed);
        let last = shard.stamp.fetch_add(Stamp::TICK, Ordering::Relaxed);
        entry.stamp.store(last + Stamp::TICK, Ordering::Relaxed);
    }

    /// As `touch`, for a number that is the thread's own: no other thread
    /// writes its shard.
    #[inline]
    pub(super) fn touch_own(&self, entry: &Entry, number: usize) {
        let stamp = self.count_hit(number);
        // A racing touch may leave the older of two stamps; both are recent.
        entry.stamp.store(stamp, Ordering::Relaxed);
    }

    /// Counts a hit of the thread that this number is its own; returns its
    /// stamp.
    #[inline]
    pub(super) fn count_hit(&self, number: usize) -> u64 {
        let shard = &self.shards[number];
        let stamp = shard.next(self.epoch.load(Ordering::Relaxed), number);
        shard.count_hit(stamp);
        stamp
    }

    /// What `touch_own` would write for the owner of an entry, if its clock does
    /// not lag.
    #[inline(always)]
    pub(super) fn in_step(&self, at: &AtOwn) -> Option<(&Shard, u64)> {
        const _: () = assert!(size_of::<Shard>() == size_of::<Owner>());
        debug_assert!(usize::from(at.number()) <= OWN_NUMBERS);
        // SAFETY: threads have no other numbers, and each has a shard, which is
        // as long as a line.
        let shard = unsafe { &*self.shards.as_ptr().byte_add(at.offset()) };
        let stamp = shard
            .stamp
            .load(Ordering::Relaxed)
            .wrapping_add(Stamp::TICK);
        (stamp > self.epoch.load(Ordering::Relaxed)).then_some((shard, stamp))
    }

    /// The next stamp of the calling thread's clock, by the thread's number,
    /// which also becomes the epoch that the other threads' clocks do not fall
    /// behind: later than any that an entry in `state`'s queue is filed under.
    pub(super) fn tick(&self, state: &State, number: usize) -> u64 {
        let shard = &self.shards[number];
        let epoch = self
            .epoch
            .load(Ordering::Relaxed)
            .max(Stamp::end_of(state.lru.newest()));
        let stamp = if number == thread_registry::SHARED_NUMBER {
            shard
                .stamp
                .fetch_max(Stamp::before(epoch, number), Ordering::Relaxed);
            shard.stamp.fetch_add(Stamp::TICK, Ordering::Relaxed) + Stamp::TICK
        } else {
            let stamp = shard.next(epoch, number);
            shard.stamp.store(stamp, Ordering::Relaxed);
            stamp
        };
        // Written under the lock only. Relaxed: a clock that misses it is late
        // by one miss.
        self.epoch.store(Stamp::end_of(stamp), Ordering::Relaxed);
        stamp
    }
}
