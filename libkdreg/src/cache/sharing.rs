// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entries that several threads use: whether one of them is to count alone,
//! all for themselves, or all in the entry.
//!
//! A thread that does not count for itself pays for atomics on a cache line
//! that the others want, too. Changing who counts takes a barrier of some
//! microseconds, ten times as many while the others run; so it is done once
//! for many such hits, which bounds its share of the time.
//!
//! # What it buys
//! `cost two-one 1 20000000` (`examples/cost.rs`; the kernel backend's check, two
//! threads on one entry), per hit, both threads' processor time: 5.1 to 6.6 ns.
//! With [`TURNS`] and [`STRANGERS`] so large that they never come, and the entry
//! counts for all but its owner: 11 to 13 ns where the threads mostly run in turn, 17
//! where they run at once; two bare atomics on one word (`two-atomics`) take 9 to
//! 10, and 14 to 16. For 64 threads, which were not to be had, a model: a processor
//! gets a line from another in some 50 ns, a hit that counts in the entry needs it
//! twice, and one can have it at a time. So all threads together make ten million
//! hits a second on one entry, and each waits 6.4 us for one of its; those that
//! share it wait for nobody, at any number. A program that registers one large
//! pool, and transfers from all of it in all threads, has one such entry.

use super::Inner;
use super::entries::{Entry, Stamp};
use super::refs::NOBODY;
use super::state::State;
use crate::barrier;
use crate::lock::MutexGuard;
use crate::range::Range;
use crate::thread_registry::{self, SHARED_NUMBER};
use std::sync::atomic::{AtomicU64, Ordering};

/// After how many hits on entries that another thread used before it, a thread
/// has one of them shared.
const TURNS: u64 = 256;

/// The same where another shared entry must give way.
const TURNS_IN_NEED: u64 = 1 << 16;

/// How many hits on other threads' entries, each its second in a row, a thread
/// makes for each entry that it takes over, since the owner may not come back.
const STRANGERS: u64 = 4096;

/// After how many references that a thread put back in the word of shared
/// entries or its own, and not where it counts itself, it has one of them counted
/// anew.
const ELSEWHERE: u64 = 256;

/// How often at most the threads of a cache learn that other threads put their
/// references back: each time it takes twice the turns for an entry to be
/// shared.
const LESSONS: u32 = 7;

/// After how many hits on shared entries a thread has one of them shared no
/// longer: if it still is used by several, it will be again soon.
const TRIALS: u64 = 1 << 20;

/// By how much of a thread's clock the stamp of a shared entry may be late
/// while nothing is registered: each stamp takes the entry's line from the other
/// threads.
const LATE: u64 = 64;

/// Counts one more in a place that the calling thread alone writes; whether it
/// is one in `many`.
fn one_in(many: u64, place: &AtomicU64) -> bool {
    let count = place.load(Ordering::Relaxed) + 1;
    place.store(count, Ordering::Relaxed);
    count % many == 0
}

/// Puts a reference back that the calling thread counted on a shared entry.
/// `false`: not so, and nothing happened.
#[inline]
pub(super) fn put_shared(entry: &Entry) -> bool {
    entry.refs.is_shared() && {
        let number = thread_registry::number();
        number != SHARED_NUMBER
            && entry
                .refs
                .put_shared(thread_registry::owners(), number as u8)
    }
}

impl Inner {
    /// As `take` for one entry, if it is shared.
    #[inline]
    pub(super) fn take_shared(&self, entry: &Entry, range: Range, access: u32) -> bool {
        let number = thread_registry::number();
        let serves = || entry.serves(range, access);
        if number == SHARED_NUMBER
            || !entry
                .refs
                .take_shared(thread_registry::owners(), number as u8, serves)
        {
            return false;
        }
        if !self.is_current(entry) {
            self.put_unused(entry);
            return false;
        }
        self.touch_shared(entry, number);
        if one_in(TRIALS, &self.shards[number].shared_hits) {
            self.try_alone(entry);
        }
        true
    }

    /// As `touch_own`, of a shared entry: its stamp may be late.
    #[inline]
    fn touch_shared(&self, entry: &Entry, number: usize) {
        let stamp = self.count_hit(number);
        let last = entry.stamp.load(Ordering::Relaxed);
        // The first use after it was filed must be seen, and one after the last
        // miss: what was not used since is older.
        if entry.filed_stamp().is_some()
            || last <= self.epoch.load(Ordering::Relaxed)
            || Stamp::clock(last) + LATE <= Stamp::clock(stamp)
        {
            entry.stamp.store(stamp, Ordering::Relaxed);
        }
    }

    /// A thread that does not count for itself used an entry; `last` is its
    /// stamp from before.
    #[inline]
    pub(super) fn used_by_another(&self, entry: &Entry, number: usize, last: u64) {
        if number == SHARED_NUMBER {
            return;
        }
        let shard = &self.shards[number];
        if Stamp::number(last) != number {
            if one_in(TURNS, &shard.turns) {
                self.have_shared(entry, shard.turns.load(Ordering::Relaxed));
            }
        } else if !entry.refs.is_counted_apart() {
            if barrier::is_available() {
                entry.refs.adopt(number as u8);
            }
        } else if one_in(STRANGERS, &shard.strangers) {
            self.take_over(entry, number as u8);
        }
    }

    /// Makes the calling thread the entry's owner, if the lock is free.
    #[cold]
    fn take_over(&self, entry: &Entry, number: u8) {
        if let Some(_state) = self.free_state() {
            entry.refs.revoke(thread_registry::caller());
            // It may have been found out only just now.
            let owner = if barrier::is_available() {
                number
            } else {
                NOBODY
            };
            entry.refs.reopen(owner);
        }
    }

    /// Has an entry shared, if the lock is free and there is a place. Where
    /// there is none, another entry of this cache gives way now and then, by
    /// the count of `turns`.
    #[cold]
    fn have_shared(&self, entry: &Entry, turns: u64) {
        let owners = thread_registry::owners();
        let lessons = self.lessons.load(Ordering::Relaxed);
        let is_time =
            turns % (TURNS << lessons) == 0 && (owners.can_lend() || turns % TURNS_IN_NEED == 0);
        if !is_time || !barrier::is_available() {
            return;
        }
        let Some(_state) = self.free_state() else {
            return;
        };
        if !entry.refs.may_be_shared() {
            return;
        }
        if !owners.can_lend() {
            // The next: one that is used much will be back.
            let from = (turns / TURNS_IN_NEED) as usize;
            let mut others = owners.shared_from(from);
            let Some(other) = others.find_map(|other| self.entries.find(other as *const Entry))
            else {
                return;
            };
            other.refs.disown(thread_registry::caller());
        }
        share(entry);
    }

    /// A thread put a reference back in an entry's word. Of a shared one, that is
    /// where the thread counts that took none itself; but from then on the word
    /// is below zero, and nobody else's count can be believed alone. So it is where
    /// another thread put back what the owner took: the owner puts back in the word
    /// from then on, until it is counted anew.
    #[inline]
    pub(super) fn put_back_elsewhere(&self, entry: &Entry) {
        let is_shared = entry.refs.is_shared();
        if is_shared || entry.refs.is_owned_by(thread_registry::caller()) {
            let number = thread_registry::number();
            if number != SHARED_NUMBER && one_in(ELSEWHERE, &self.shards[number].elsewhere) {
                match is_shared {
                    true => self.count_anew(entry, number as u8),
                    // Takes no barrier of who is the owner.
                    false => self.take_over(entry, number as u8),
                }
            }
        }
    }

    #[cold]
    fn count_anew(&self, entry: &Entry, number: u8) {
        if let Some(_state) = self.free_state() {
            if !entry.refs.is_shared() {
                return;
            }
            if entry.refs.counts_here(thread_registry::owners(), number) {
                share(entry);
            } else {
                // Under the lock: no lesson is lost.
                let lessons = self.lessons.load(Ordering::Relaxed);
                self.lessons
                    .store((lessons + 1).min(LESSONS), Ordering::Relaxed);
                entry.refs.disown(thread_registry::caller());
            }
        }
    }

    /// A while after it came to be shared: once more from the beginning.
    #[cold]
    fn try_alone(&self, entry: &Entry) {
        if let Some(_state) = self.free_state() {
            entry.refs.disown(thread_registry::caller());
        }
    }

    /// The lock, if it is free, and the cache this process's.
    fn free_state(&self) -> Option<MutexGuard<'_, State>> {
        if self.home.is_here() {
            self.state.try_lock()
        } else {
            None
        }
    }
}

/// Has a live entry shared if there is a place. Under the lock.
fn share(entry: &Entry) {
    entry.refs.share(thread_registry::caller());
    // It may have been found out only just now.
    if !barrier::is_available() {
        entry.refs.disown(thread_registry::caller());
    }
}

#[cfg(test)]
mod tests;
