// SPDX-License-Identifier: MIT OR Apache-2.0
//! A reference on an entry, as Rust programs hold it.

use super::entries::Entry;
use super::watches::Standing;
use super::{Handle, Inner};
use crate::errno::Errno;
use crate::range::Range;

/// A registration in use. Dropping it puts it back.
pub struct Held<'a> {
    pub(super) inner: &'a Inner,
    pub(super) entry: &'a Entry,
}

impl Held<'_> {
    /// The registered range: at least what was asked for.
    pub fn range(&self) -> Range {
        self.entry.range()
    }

    /// The rights it was registered with: at least what was asked for.
    pub fn access(&self) -> u32 {
        self.entry.access()
    }

    /// What `register` returned.
    pub fn handle(&self) -> Handle {
        Handle(self.entry.handle())
    }

    /// Whether the memory is still what was registered. It can change while
    /// the registration is in use, if the application does not keep its own
    /// buffers mapped.
    pub fn is_valid(&self) -> bool {
        self.inner.is_current(self.entry)
    }

    /// What is known of `range`, a part of what is registered: of itself, not of
    /// what it was merged with. `EINVAL` where it is no part of it.
    pub fn standing(&self, range: Range) -> Result<Standing, Errno> {
        self.inner.standing(self.entry, range)
    }

    /// Has it evicted after all that has a smaller priority; 0 is what each begins
    /// with, [`PINNED`](super::PINNED) never. `ENOENT` for what is not cached, or
    /// not any more.
    pub fn prioritize(&self, priority: u8) -> Result<(), Errno> {
        self.inner.prioritize(self.entry, priority)
    }

    /// The caller's bytes in it; null where there are none.
    pub fn data(&self) -> *mut u8 {
        self.entry.data()
    }

    /// What a C caller calls it.
    pub(crate) fn as_raw(&self) -> *const Entry {
        self.entry
    }

    /// Gives up the guard without putting the reference back; the C face hands
    /// out the entry instead.
    #[inline]
    pub(crate) fn into_raw(self) -> *const Entry {
        let entry: *const Entry = self.entry;
        std::mem::forget(self);
        entry
    }
}

/// Another reference on the same registration: it costs no lookup, registers
/// nothing, and is the same whatever became of the entry meanwhile.
impl Clone for Held<'_> {
    fn clone(&self) -> Self {
        self.inner.hold(self.entry);
        Held {
            inner: self.inner,
            entry: self.entry,
        }
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        self.inner.put(self.entry);
    }
}
