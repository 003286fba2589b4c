// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entries that somebody is still to be told of.

use super::entries::Entries;
use crate::interval_tree::NIL;
use std::sync::atomic::Ordering;

/// Dropped entries to be told of, linked through their extras. Protected by the
/// cache's lock.
pub(super) struct Untold {
    first: u32,
    last: u32,
}

impl Untold {
    pub const NONE: Untold = Untold {
        first: NIL,
        last: NIL,
    };

    pub fn is_empty(&self) -> bool {
        self.first == NIL
    }

    pub fn push(&mut self, entries: &Entries, index: u32) {
        entries.extra(index).next.store(NIL, Ordering::Relaxed);
        match self.last {
            NIL => self.first = index,
            last => entries.extra(last).next.store(index, Ordering::Relaxed),
        }
        self.last = index;
    }

    pub fn pop(&mut self, entries: &Entries) -> Option<u32> {
        if self.is_empty() {
            return None;
        }
        let index = self.first;
        self.first = entries.extra(index).next.load(Ordering::Relaxed);
        if self.first == NIL {
            self.last = NIL;
        }
        Some(index)
    }
}
