// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is registered while a registration is under way: the one that comes
//! second notices, although it looked before there was anything to see.

use kdreg::cache::{Cache, Handle, Options, Registrar, Statistics};
use kdreg::errno::Errno;
use kdreg::monitor::manual::Manual;
use kdreg::range::Range;
use std::sync::{Arc, OnceLock};

const PAGE: usize = 4096;

fn pages(first: usize, count: usize) -> Range {
    Range::new(0x10_0000_0000 + first * PAGE, count * PAGE).unwrap()
}

/// The first registration gets `other` before it returns.
struct Nested {
    cache: Arc<OnceLock<Cache>>,
    other: Range,
    begun: OnceLock<()>,
}

impl Registrar for Nested {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        if self.begun.set(()).is_ok() {
            let cache = self.cache.get().expect("set before anything is got");
            drop(cache.get(self.other, 1).unwrap());
        }
        Ok(Handle(range.start()))
    }
    fn deregister(&self, _range: Range, _handle: Handle) {}
}

/// Gets `range`, and `other` within its registration; the counts after that,
/// with room for `max_entries`.
fn both(range: Range, other: Range, max_entries: usize) -> (Statistics, Arc<OnceLock<Cache>>) {
    let (_manual, monitor) = Manual::open().unwrap();
    let options = Options {
        max_entries,
        no_reaper: true,
        ..Options::default()
    };
    let cell = Arc::new(OnceLock::new());
    let registrar = Nested {
        cache: cell.clone(),
        other,
        begun: OnceLock::new(),
    };
    let cache = Cache::new(&monitor, options, Box::new(registrar)).unwrap();
    let cache = cell.get_or_init(|| cache);
    drop(cache.get(range, 1).unwrap());
    (cache.statistics().unwrap(), cell.clone())
}

#[test]
fn the_same_range_is_kept_once() {
    let (counts, cache) = both(pages(0, 4), pages(0, 4), 16);
    assert_eq!((counts.duplicates, counts.entries), (1, 1));
    assert_eq!((counts.registrations, counts.deregistrations), (2, 1));
    drop(cache.get().unwrap().find(pages(0, 4), 1).unwrap());
}

#[test]
fn a_smaller_one_is_superseded() {
    let (counts, cache) = both(pages(0, 4), pages(1, 1), 16);
    assert_eq!((counts.merges, counts.entries), (1, 1));
    assert_eq!((counts.registrations, counts.deregistrations), (2, 1));
    assert_eq!(counts.bytes, 4 * PAGE as u64);
    drop(cache.get().unwrap().find(pages(1, 1), 1).unwrap());
}

#[test]
fn one_elsewhere_stays() {
    let (counts, _cache) = both(pages(0, 4), pages(100, 1), 16);
    assert_eq!(
        (counts.duplicates, counts.merges, counts.entries),
        (0, 0, 2)
    );
    assert_eq!((counts.registrations, counts.deregistrations), (2, 0));
}
