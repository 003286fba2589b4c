// SPDX-License-Identifier: MIT OR Apache-2.0
//! A backend's reader of the log: what a check looks at, and what brings it up
//! to date.
//!
//! # The lock
//! `source`: one thread at a time applies the log. It is only ever tried by those
//! who look up (an application may stop any of its threads, and with it the holder),
//! and the table's lock is tried inside it. Nothing is called that waits.

use super::abi::LOG_DEAD;
use super::changes::Change;
use super::maps::Maps;
use super::marks::{Marked, Marks, Standing, What};
use crate::lock::Mutex;
use crate::memory::Share;
use crate::monitor::Reason;
use crate::monitor::table::Table;
use crate::range::{Range, USER_END, page_size};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Entries, or batches of regions, that are marked in one hold of the lock.
const STEPS: usize = 64;

/// See the module's documentation. Never freed: part of a table's words.
#[repr(align(64))]
pub(crate) struct Reader {
    /// The log's tail, and the guard's word; [`CLOSED`] while nothing is open. The
    /// mappings are there as long as the backend is, and with it whoever checks.
    tail: AtomicPtr<AtomicU64>,
    guard: AtomicPtr<AtomicU64>,
    marks: Marks,
    source: Mutex<Option<Source>>,
}

/// What is read, and what is marked.
struct Source {
    maps: Share<Maps>,
    table: Share<Table>,
}

/// What a log's tail is that there is none of: nothing is valid.
static CLOSED: AtomicU64 = AtomicU64::new(LOG_DEAD);

fn closed() -> *mut AtomicU64 {
    (&raw const CLOSED).cast_mut()
}

fn pointer(word: &AtomicU64) -> *mut AtomicU64 {
    std::ptr::from_ref(word).cast_mut()
}

impl Reader {
    pub fn new() -> Reader {
        Reader {
            tail: AtomicPtr::new(closed()),
            guard: AtomicPtr::new(closed()),
            marks: Marks::new(0),
            source: Mutex::new(None),
        }
    }

    /// Begins to read, for a table in which nothing is armed.
    pub(super) fn open(&self, maps: Share<Maps>, table: Share<Table>) {
        let mut source = self.source.lock();
        let (log, guard) = (maps.log(), maps.guard());
        // Acquire: as in `marks`.
        self.marks.renew(guard.load(Ordering::Acquire));
        // Release, and Acquire where they are loaded: who finds the words finds
        // the marks that go with them.
        self.tail.store(pointer(log.tail), Ordering::Release);
        self.guard.store(pointer(guard), Ordering::Release);
        *source = Some(Source { maps, table });
    }

    /// Ends it. Nobody checks any more.
    pub(super) fn close(&self) {
        let source = {
            let mut source = self.source.lock();
            self.tail.store(closed(), Ordering::Release);
            self.guard.store(closed(), Ordering::Release);
            source.take()
        };
        // Unmaps and closes: not under the lock.
        drop(source);
    }

    /// Whether the words say everything that was changed by calls that have
    /// returned. To be asked before a word is loaded.
    #[inline(always)]
    pub fn is_current(&self) -> bool {
        // SAFETY: the mappings' words while the backend is open, and who asks has
        // a share in that; else a static one.
        let (tail, guard) = unsafe {
            (
                &*self.tail.load(Ordering::Acquire),
                &*self.guard.load(Ordering::Acquire),
            )
        };
        self.marks.are_current(tail, guard)
    }

    /// Brings the words up to date, some way. Never waits.
    pub fn catch_up(&self) -> Standing {
        let Some(source) = self.source.try_lock() else {
            return Standing::Behind;
        };
        let Some(Source { maps, table }) = &*source else {
            return Standing::Dead;
        };
        let standing = self
            .marks
            .catch_up(&maps.log(), maps.guard(), STEPS, |what| match what {
                What::Change(change) => {
                    mark(table, range_of(&change), Reason::of_change(change.change))
                }
                What::Everything => mark(table, EVERYTHING, Reason::Unknown),
            });
        if standing == Standing::Dead {
            // For the events: it is not valid whether or not it is marked.
            mark(table, EVERYTHING, Reason::Lost);
        }
        standing
    }
}

const EVERYTHING: Option<Range> = None;

/// Marks regions that overlap a range, a batch of them at most; `None`: all.
fn mark(table: &Table, range: Option<Range>, reason: Reason) -> Marked {
    let range = range.unwrap_or_else(|| Range::between(0, USER_END));
    match table.try_invalidate_some(range, reason) {
        None => Marked::Not,
        Some(true) => Marked::Some,
        Some(false) => Marked::All,
    }
}

/// The range of a change, in whole pages; `None`, everything, of what is none.
fn range_of(change: &Change) -> Option<Range> {
    let start = usize::try_from(change.start).ok()?;
    let end = usize::try_from(change.end).ok()?.min(USER_END);
    (start < end).then(|| Range::between(start, end).widened(page_size()))
}
