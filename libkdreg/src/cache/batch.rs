// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entries for many ranges at once, a scatter list: all or none.
//!
//! Each range is got as by [`Inner::get`], in the order of the list; nothing is
//! decided here that is not decided there.

use super::Inner;
use super::entries::Entry;
use crate::errno::Errno;
use crate::range::Range;

/// The ranges of a call, and what serves each.
pub(crate) trait Scattered {
    /// How many there are.
    fn count(&self) -> usize;
    /// One of them.
    fn range(&self, place: usize) -> Range;
    /// What serves it: held, and null where nothing does yet.
    fn entry(&self, place: usize) -> *const Entry;
    /// Says what serves it.
    fn set(&mut self, place: usize, entry: *const Entry);
}

impl Inner {
    /// Has each range of a list served with at least the rights in `access`. On
    /// failure, be it that a callback did not return, none is held.
    pub(crate) fn get_all(&self, list: &mut impl Scattered, access: u32) -> Result<(), Errno> {
        self.home.check()?;
        for place in 0..list.count() {
            if list.entry(place).is_null() {
                let got = self.get(list.range(place), access);
                let held = got.inspect_err(|_| self.put_all(list))?;
                list.set(place, held.into_raw());
            }
        }
        Ok(())
    }

    /// Puts back what was got, by a call that has failed.
    #[cold]
    pub(crate) fn put_all(&self, list: &mut impl Scattered) {
        for place in 0..list.count() {
            // SAFETY: null, or an entry of this cache that is held; entries are
            // never unmapped while it lives.
            if let Some(entry) = unsafe { list.entry(place).as_ref() } {
                list.set(place, std::ptr::null());
                self.put(entry);
            }
        }
    }
}
