// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another reference for one who has one.

use super::{DETACHED, NOBODY, ONE, Put, Refs, count_in, owner_in};
use crate::sync::Ordering;

impl Refs {
    /// Whether the entry is in use and not to be found any more. Exact under the
    /// lock, but for a last put this moment.
    pub fn is_detached(&self) -> bool {
        self.word.load(Ordering::Relaxed) & DETACHED != 0
    }

    /// Takes another reference, whatever became of the entry, for a caller who
    /// has one: it keeps the sum above zero, so that nobody retires the entry
    /// meanwhile. In the word, where everybody may count, also of what has an
    /// owner or is shared.
    ///
    /// For a caller who turns out to have none the reference was put back, and
    /// what `Err` holds is to be handled like the result of `put`.
    pub fn hold(&self) -> Result<(), Put> {
        // Relaxed: the caller has seen the entry's fields when it got the
        // reference it has, and what it does with this one happens before its
        // release by way of its put, which is Release as any.
        let before = self.word.fetch_add(ONE, Ordering::Relaxed);
        // Without an owner this word was the sum.
        if count_in(before) <= 0 && owner_in(before) == NOBODY {
            Err(self.put())
        } else {
            Ok(())
        }
    }
}
