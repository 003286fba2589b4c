// SPDX-License-Identifier: MIT OR Apache-2.0
//! The regions that an entry keeps besides its own, each shared with others
//! ([`watches`](super::watches)).

use crate::memory;
use crate::monitor::{Region, RegionName};
use crate::range::Range;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// How many watches a merged entry keeps. Of a range that has none the answer
/// is that it is not known, once the entry has changed.
const MOST: usize = 32;

/// How many of the entries that one registration takes the place of give it
/// their region: as many must be allocated before the lock is taken.
const FROM_ENTRIES: usize = 8;

/// A region that several entries share.
pub(crate) struct Watch {
    /// Entries that share it.
    pub(super) count: AtomicUsize,
    pub(super) word: &'static AtomicU32,
    pub(super) name: RegionName,
    pub(super) range: Range,
}

impl Watch {
    pub(super) fn has_changed(&self) -> bool {
        // Acquire: pairs with the bump.
        self.word.load(Ordering::Acquire) != self.name.generation
    }
}

/// What watches a registration that is being made.
pub(super) struct Watched<'a> {
    pub region: Region,
    /// Taken by the entry that it becomes.
    pub pieces: &'a mut Option<Box<Pieces>>,
}

/// The watches of one entry.
pub(crate) struct Pieces {
    pub(super) watches: Vec<*const Watch>,
    /// For the regions of entries that are superseded.
    #[expect(
        clippy::vec_box,
        reason = "each is shared by its address, and freed by itself"
    )]
    spare: Vec<Box<Watch>>,
}

// SAFETY: watches are plain data and atomics, counted, and freed by whoever puts
// the last share back.
unsafe impl Send for Pieces {}
// SAFETY: as above; a published list is not written to.
unsafe impl Sync for Pieces {}

/// Where no watch is yet: replaced before it is one.
static NOWHERE: AtomicU32 = AtomicU32::new(0);

impl Pieces {
    /// Room for watches; none where there is no memory for it.
    #[cold]
    pub fn new() -> Option<Box<Pieces>> {
        let mut pieces = memory::try_box(Pieces {
            watches: memory::try_vec(MOST).ok()?,
            spare: memory::try_vec(FROM_ENTRIES + 1).ok()?,
        })
        .ok()?;
        for _ in 0..=FROM_ENTRIES {
            let spare = memory::try_box(Watch {
                count: AtomicUsize::new(0),
                word: &NOWHERE,
                name: RegionName {
                    slot: 0,
                    generation: 0,
                    word: 0,
                },
                range: Range::between(0, 1),
            });
            pieces.spare.push(spare.ok()?);
        }
        Some(pieces)
    }

    /// Begins to share a region, `count` times.
    pub(super) fn add(
        &mut self,
        word: &'static AtomicU32,
        name: RegionName,
        range: Range,
        count: usize,
    ) -> Option<*const Watch> {
        if self.is_full() {
            return None;
        }
        let mut watch = self.spare.pop()?;
        *watch = Watch {
            count: AtomicUsize::new(count),
            word,
            name,
            range,
        };
        let watch: *const Watch = Box::into_raw(watch);
        self.watches.push(watch);
        Some(watch)
    }

    /// Whether it watches all that it can.
    pub(super) fn is_full(&self) -> bool {
        self.watches.len() == MOST
    }
}
