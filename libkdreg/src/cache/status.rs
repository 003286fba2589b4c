// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the status page says of a cache: a line of words, `key=value`, for
//! the monitor, one for the cache, and one for each of its largest and its
//! most recently used entries. `kdreg_info --pid` reads them.

use super::entries::Stamp;
use super::{Inner, Name};
use crate::thread_registry;
use std::fmt::Write;
use std::sync::atomic::Ordering;

/// How many entries each list has.
const LISTED: usize = 10;

/// What does not fit is left out.
macro_rules! add {
    ($text:expr, $($format:tt)*) => {{
        let _ = write!($text, $($format)*);
    }};
}

impl Inner {
    /// Appends what there is to say of this cache, as number `id` of the
    /// process. Takes the cache's lock for as long as statistics() does.
    pub(super) fn describe(&self, id: usize, text: &mut dyn Write) {
        let activity = self.monitor.activity();
        let _ = activity.describe(self.monitor.kind(), text);
        let s = self.statistics();
        add!(
            text,
            "cache id={id} monitor={:#x} entries={} max_entries={} bytes={} in_use={} \
             unreleased_bytes={} hits={} misses={} registrations={} register_failures={} \
             deregistrations={} merges={} evictions={} invalidations={} uncached={} duplicates={}",
            activity.name,
            s.entries,
            self.options.max_entries,
            s.bytes,
            s.in_use,
            s.unreleased_bytes,
            s.hits,
            s.misses,
            s.registrations,
            s.register_failures,
            s.deregistrations,
            s.merges,
            s.evictions,
            s.invalidations,
            s.uncached,
            s.duplicates,
        );
        if self.options.max_bytes != usize::MAX {
            add!(text, " max_bytes={}", self.options.max_bytes);
        }
        if self.options.name != Name::default() {
            add!(text, " name={}", self.options.name.as_str());
        }
        let ahead = self.state.lock().ahead.outlook();
        if let Some((waiting, doing)) = ahead {
            add!(text, " ahead_waiting={waiting} ahead_registering={doing}");
        }
        add!(text, "\n");
        let (mut largest, mut hottest) = (Top::default(), Top::default());
        // A statement of its own: in the loop's head the lock would be held
        // until the loop is over.
        let used = self.state.lock().used_slots();
        for index in 0..used {
            let entry = self.entries.at(index);
            let (true, Some(range)) = (entry.refs.is_live(), entry.range_if_any()) else {
                continue;
            };
            largest.offer(range.len() as u64, index);
            hottest.offer(entry.stamp.load(Ordering::Relaxed), index);
        }
        self.list("largest", id, &largest, text);
        self.list("hottest", id, &hottest, text);
    }

    fn list(&self, list: &str, id: usize, top: &Top, text: &mut dyn Write) {
        for &(_, index) in top.all() {
            let entry = self.entries.at(index);
            // It may be another entry by now, or none.
            let Some(range) = entry.range_if_any() else {
                continue;
            };
            let state = if entry.has_changed() {
                "changed"
            } else {
                "valid"
            };
            add!(
                text,
                "entry list={list} cache={id} base={:#x} bytes={} access={:#x} refs={} \
                 last_use={} state={state}\n",
                range.start(),
                range.len(),
                entry.access(),
                entry.refs.count(thread_registry::owners()),
                Stamp::clock(entry.stamp.load(Ordering::Relaxed)),
            );
        }
    }
}

/// The entries with the highest values, highest first.
#[derive(Default)]
struct Top {
    all: [(u64, u32); LISTED],
    count: usize,
}

impl Top {
    fn all(&self) -> &[(u64, u32)] {
        &self.all[..self.count]
    }

    fn offer(&mut self, value: u64, index: u32) {
        let place = self.all().partition_point(|&(other, _)| other >= value);
        if place < LISTED {
            self.count = (self.count + 1).min(LISTED);
            self.all[place..self.count].rotate_right(1);
            self.all[place] = (value, index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_highest() {
        let mut top = Top::default();
        for value in [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 0, 4] {
            top.offer(value, value as u32);
        }
        let values: Vec<u64> = top.all().iter().map(|&(value, _)| value).collect();
        assert_eq!(values, [9, 9, 9, 8, 7, 6, 5, 5, 5, 4]);
    }
}
