// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another reference on an entry that is held: no lookup, and no registration.

use super::Inner;
use super::entries::Entry;
use super::refs;
use crate::errno::Errno;
use crate::thread_registry;

impl Inner {
    /// Whether a reference is out on an entry that a caller says it holds.
    /// Takes the lock only where the counts, one read after the other, do not
    /// say.
    pub(super) fn is_held(&self, entry: &Entry) -> Result<bool, Errno> {
        let held = match entry.refs.held(thread_registry::owners()) {
            refs::Held::Perhaps => {
                self.home.check()?;
                let _state = self.state.lock();
                entry.refs.disown(thread_registry::caller());
                entry.refs.held(thread_registry::owners())
            }
            known => known,
        };
        Ok(held != refs::Held::No)
    }

    /// One of this cache's entries, of which a C caller says that it holds it.
    pub(crate) fn held_entry(&self, entry: *const Entry) -> Result<&Entry, Errno> {
        let entry = self.entries.find(entry).ok_or(Errno::EINVAL)?;
        if self.is_held(entry)? {
            Ok(entry)
        } else {
            Err(Errno::EINVAL)
        }
    }

    /// Takes another reference on an entry that a C caller says it holds.
    pub(crate) fn hold_checked(&self, entry: *const Entry) -> Result<(), Errno> {
        let entry = self.held_entry(entry)?;
        entry.refs.hold().map_err(|put| {
            self.after_unused(entry, put);
            Errno::EINVAL
        })
    }

    /// Takes another reference on an entry that the caller holds.
    pub(super) fn hold(&self, entry: &Entry) {
        let held = entry.refs.hold();
        debug_assert!(held.is_ok(), "the caller holds it");
    }
}
