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
use super::changes::Log;
use super::marks::{Marked, Marks, Standing, What};
use crate::lock::Mutex;
use crate::monitor::Reason;
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
    source: Mutex<Option<Box<dyn Source>>>,
}

/// What is read, and what is marked. Whoever has it keeps both.
pub(crate) trait Source: Send {
    /// The log.
    fn log(&self) -> Log<'_>;
    /// The guard's word.
    fn guard(&self) -> &AtomicU64;
    /// Marks regions that overlap `range`, a batch of them at most; never waits.
    fn mark(&self, range: Range, reason: Reason) -> Marked;
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

    /// Begins to read what `from` has, which marks the regions of a table in which
    /// nothing is armed.
    pub fn open(&self, from: Box<dyn Source>) {
        let mut source = self.source.lock();
        let (log, guard) = (from.log(), from.guard());
        // Acquire: as in `marks`.
        self.marks.renew(guard.load(Ordering::Acquire));
        // Release, and Acquire where they are loaded: who finds the words finds
        // the marks that go with them.
        self.tail.store(pointer(log.tail), Ordering::Release);
        self.guard.store(pointer(guard), Ordering::Release);
        *source = Some(from);
    }

    /// Ends it. Nobody checks any more.
    pub fn close(&self) {
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
        let Some(source) = &*source else {
            return Standing::Dead;
        };
        let standing =
            self.marks
                .catch_up(&source.log(), source.guard(), STEPS, |what| match what {
                    What::Change(change) => {
                        source.mark(range_of(&change), Reason::of_change(change.change))
                    }
                    What::Everything => source.mark(everything(), Reason::Unknown),
                });
        if standing == Standing::Dead {
            // For the events: it is not valid whether or not it is marked.
            source.mark(everything(), Reason::Lost);
        }
        standing
    }
}

fn everything() -> Range {
    Range::between(0, USER_END)
}

/// The range of a change, in whole pages; everything, of what is none.
fn range_of(change: &Change) -> Range {
    let (Ok(start), Ok(end)) = (usize::try_from(change.start), usize::try_from(change.end)) else {
        return everything();
    };
    let end = end.min(USER_END);
    if start < end {
        Range::between(start, end).widened(page_size())
    } else {
        everything()
    }
}
