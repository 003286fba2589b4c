// SPDX-License-Identifier: MIT OR Apache-2.0
//! The log, as it is read: the other end is BPF programs that write it while
//! the mapping is being changed.
//!
//! A writer takes a number by adding to the tail, says in the entry's sequence
//! that it is being written, fills it in, says that it is finished, and counts
//! it as finished. Nothing keeps writers from lapping a reader, nor, when one
//! is held up in the middle, from lapping each other: `marks` says why a reader
//! notices.

use super::orders;
use crate::sync::{AtomicU64, Ordering, fence};

/// An entry in memory that others write: `abi::LogEntry`.
#[repr(C)]
pub(crate) struct Entry {
    pub sequence: AtomicU64,
    pub start: AtomicU64,
    pub end: AtomicU64,
    /// The change, and nothing behind it.
    pub change: AtomicU64,
}

/// A log that is mapped.
#[derive(Clone, Copy)]
pub(crate) struct Log<'a> {
    /// Entries ever begun, and `LOG_DEAD`.
    pub tail: &'a AtomicU64,
    /// Entries ever finished.
    pub done: &'a AtomicU64,
    /// A power of two of them.
    pub entries: &'a [Entry],
}

/// What one entry says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    pub start: u64,
    pub end: u64,
    pub change: u32,
}

/// What there is of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    Change(Change),
    /// Its writer is not through.
    Unfinished,
    /// A later one took its place, or may be taking it.
    Overwritten,
}

impl Log<'_> {
    /// How many entries the log keeps.
    pub fn capacity(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Copies the `number`th entry ever begun.
    pub fn take(&self, number: u64) -> Taken {
        let entry = &self.entries[number as usize & (self.entries.len() - 1)];
        let finished = number.wrapping_mul(2).wrapping_add(2);
        let before = entry.sequence.load(orders::BEFORE);
        if before != finished {
            return if before < finished {
                Taken::Unfinished
            } else {
                Taken::Overwritten
            };
        }
        // Relaxed: between the looks at the sequence and the tail.
        let change = Change {
            start: entry.start.load(Ordering::Relaxed),
            end: entry.end.load(Ordering::Relaxed),
            change: first_half(entry.change.load(Ordering::Relaxed)),
        };
        fence(orders::BEHIND);
        // Relaxed: behind the fence. The sequence would not tell: a writer that
        // was held up stores it after one that laps it has begun to write. Nobody
        // writes a later payload here who has not moved the tail that far before.
        // A dead log's tail is far off.
        if self.tail.load(Ordering::Relaxed).wrapping_sub(number) <= self.capacity() {
            Taken::Change(change)
        } else {
            Taken::Overwritten
        }
    }
}

/// The 32 bits of a word that come first in memory.
fn first_half(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}
