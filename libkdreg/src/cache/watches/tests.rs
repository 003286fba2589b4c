// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is known of a part of a merged registration, by what it was merged from.

use super::Standing;
use crate::cache::{Cache, Handle, Options, Registrar};
use crate::errno::Errno;
use crate::monitor::manual::Manual;
use crate::range::Range;

const PAGE: usize = 4096;

struct Nothing;

impl Registrar for Nothing {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        Ok(Handle(range.start()))
    }

    fn deregister(&self, _range: Range, _handle: Handle) {}
}

fn pages(first: usize, count: usize) -> Range {
    Range::new(0x10_0000_0000 + first * PAGE, count * PAGE).unwrap()
}

/// What is known of the first page of a registration with the rights `first` that was
/// merged into one with the rights `second`, when something else of that has changed.
fn of_the_first(first: u32, second: u32) -> Standing {
    let (manual, monitor) = Manual::open().unwrap();
    let options = Options {
        no_reaper: true,
        ..Options::default()
    };
    let cache = Cache::new(&monitor, options, Box::new(Nothing)).unwrap();
    drop(cache.get(pages(0, 4), first).unwrap());
    let merged = cache.get(pages(2, 4), second).unwrap();
    assert_eq!(merged.range(), pages(0, 6));
    assert_eq!(merged.standing(pages(0, 1)).unwrap(), Standing::Unchanged);
    manual.change(pages(5, 1));
    assert_eq!(merged.standing(pages(2, 4)).unwrap(), Standing::Changed);
    merged.standing(pages(0, 1)).unwrap()
}

#[test]
fn what_it_was_merged_from_goes_on_watching() {
    assert_eq!(of_the_first(3, 3), Standing::Unchanged);
}

/// Who watches memory that is to be read need not notice that it cannot be written
/// any more (`Registrar::needs`).
#[test]
fn what_was_watched_for_fewer_rights_proves_nothing() {
    assert_eq!(of_the_first(1, 3), Standing::Unknown);
}
