// SPDX-License-Identifier: MIT OR Apache-2.0
//! What libfabric has subscribed to.
//!
//! libfabric's callbacks name a range, and nothing else: two of its caches (two
//! domains) that hold the same range cannot be told apart. So a range has one
//! region, however often it is subscribed to, and once that region has
//! changed, the range stays invalid until every subscription is gone. A newer
//! subscription must not make an older one look valid again: the older one may
//! still stand for the pages of before.

use crate::range::Range;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A range as libfabric names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    pub addr: usize,
    pub len: usize,
}

impl From<Range> for Key {
    fn from(range: Range) -> Key {
        Key {
            addr: range.start(),
            len: range.len(),
        }
    }
}

/// How the map of records mixes keys. The standard one's random numbers are
/// kept in thread-local storage, for which there may be no memory, and are of no
/// use where nobody chooses keys to do harm.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_usize(usize::from(byte));
        }
    }

    fn write_usize(&mut self, number: usize) {
        // Both ends of the product: the map looks at the top and at the bottom.
        let product = u128::from(self.0 ^ number as u64) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// One range; `R` is what watches it.
struct Record<R> {
    /// Subscriptions not yet undone.
    count: usize,
    /// Tells this record from an earlier one of the same range.
    id: u64,
    /// `None`: it could not be watched, and is never valid.
    region: Option<R>,
}

/// The subscriptions, by range.
pub struct Ranges<R> {
    records: HashMap<Key, Record<R>, BuildHasherDefault<Mixer>>,
    next_id: u64,
}

impl<R> Default for Ranges<R> {
    fn default() -> Self {
        Ranges {
            records: HashMap::default(),
            next_id: 1,
        }
    }
}

/// What a subscription came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subscribed<R> {
    /// Watched by this.
    By(R),
    /// Not watched, so not valid.
    Unwatched,
    /// There is no memory to remember it.
    NoMemory,
}

impl<R: Copy> Ranges<R> {
    /// Counts a subscription. The first of a range has `watch` called, with a
    /// number for the record, to begin watching it.
    pub fn subscribe(&mut self, key: Key, watch: impl FnOnce(u64) -> Option<R>) -> Subscribed<R> {
        if let Some(record) = self.records.get_mut(&key) {
            record.count += 1;
            return record.region.map_or(Subscribed::Unwatched, Subscribed::By);
        }
        if self.records.try_reserve(1).is_err() {
            return Subscribed::NoMemory;
        }
        let id = self.next_id;
        self.next_id += 1;
        let region = watch(id);
        let record = Record {
            count: 1,
            id,
            region,
        };
        self.records.insert(key, record);
        region.map_or(Subscribed::Unwatched, Subscribed::By)
    }

    /// Undoes one subscription; the region of a range that has none left.
    pub fn unsubscribe(&mut self, key: Key) -> Option<R> {
        let record = self.records.get_mut(&key)?;
        record.count -= 1;
        if record.count > 0 {
            return None;
        }
        self.records.remove(&key)?.region
    }

    /// What watches exactly this range.
    pub fn region(&self, key: Key) -> Option<R> {
        self.records.get(&key)?.region
    }

    /// The number of the record of a range.
    pub fn id(&self, key: Key) -> Option<u64> {
        self.records.get(&key).map(|record| record.id)
    }

    /// Whether the record with this number is still there.
    pub fn holds(&self, key: Key, id: u64) -> bool {
        self.id(key) == Some(id)
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Forgets everything, and hands the regions out.
    pub fn drain(&mut self) -> impl Iterator<Item = R> {
        self.records.drain().filter_map(|(_, record)| record.region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key {
        addr: 0x1000,
        len: 64,
    };

    #[test]
    fn a_range_is_watched_once_and_until_its_last_subscription() {
        let mut ranges = Ranges::<u32>::default();
        assert_eq!(ranges.subscribe(KEY, |_| Some(7)), Subscribed::By(7));
        let again = ranges.subscribe(KEY, |_| unreachable!("it is watched already"));
        assert_eq!(again, Subscribed::By(7));
        assert_eq!(ranges.unsubscribe(KEY), None);
        assert_eq!(ranges.region(KEY), Some(7));
        assert_eq!(ranges.unsubscribe(KEY), Some(7));
        assert_eq!(ranges.region(KEY), None);
        assert_eq!(ranges.unsubscribe(KEY), None);
    }

    #[test]
    fn a_range_that_cannot_be_watched_is_counted_too() {
        let mut ranges = Ranges::<u32>::default();
        assert_eq!(ranges.subscribe(KEY, |_| None), Subscribed::Unwatched);
        assert_eq!(ranges.subscribe(KEY, |_| Some(1)), Subscribed::Unwatched);
        assert_eq!(ranges.unsubscribe(KEY), None);
        assert_eq!(ranges.len(), 1);
        assert_eq!(ranges.unsubscribe(KEY), None);
        assert_eq!(ranges.subscribe(KEY, |_| Some(2)), Subscribed::By(2));
    }

    #[test]
    fn other_lengths_are_other_ranges() {
        let mut ranges = Ranges::<u32>::default();
        let longer = Key { len: 65, ..KEY };
        ranges.subscribe(KEY, |_| Some(1));
        ranges.subscribe(longer, |_| Some(2));
        assert_eq!(ranges.unsubscribe(longer), Some(2));
        assert_eq!(ranges.region(KEY), Some(1));
    }

    #[test]
    fn a_record_is_told_from_its_successor() {
        let mut ranges = Ranges::<u32>::default();
        let mut ids = [0; 2];
        for id in &mut ids {
            ranges.subscribe(KEY, |number| {
                *id = number;
                Some(1)
            });
            assert!(ranges.holds(KEY, *id));
            ranges.unsubscribe(KEY);
        }
        assert_ne!(ids[0], ids[1]);
        assert!(!ranges.holds(KEY, ids[0]));
    }
}
