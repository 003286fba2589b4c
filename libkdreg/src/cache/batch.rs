// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entries for many ranges at once, a scatter list: all or none.
//!
//! Each range is got as by [`Inner::get`], in the order of the list; nothing is
//! decided here that is not decided there.

mod ahead;

use self::ahead::Ahead;
use super::Inner;
use super::cause::Cause;
use super::entries::Entry;
use crate::errno::Errno;
use crate::race_detector::unwatched;
use crate::range::Range;
use crate::unwinding;
use std::mem::ManuallyDrop;

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
    /// failure, be it that a callback did not return, none is held, and what was
    /// registered until then is dropped.
    pub(crate) fn get_all(&self, list: &mut impl Scattered, access: u32) -> Result<(), Errno> {
        self.home.check()?;
        let mut made = Vec::new();
        let mut result = self.get_each(list, access, &mut made);
        if unwinding::is_held() {
            // Where what was done ahead was undone, perhaps.
            result = Err(Errno::ESCAPED);
        }
        if result.is_err() {
            // They are held still: what is in their slots is what was made.
            for index in made {
                self.drop_entry(index, Cause::Dropped);
            }
            // What escaped from a `deregister` of this comes before what it was for.
            return self.put_all(list).and(result);
        }
        result
    }

    /// As `get_all`; on failure, what was got is held, and the slots of what was
    /// registered are in `made`.
    fn get_each(
        &self,
        list: &mut impl Scattered,
        access: u32,
        made: &mut Vec<u32>,
    ) -> Result<(), Errno> {
        let mut ahead = Ahead::default();
        if self.prepares() {
            let mut missing = 0;
            for place in 0..list.count() {
                if list.entry(place).is_null() {
                    match self.find_noted(list.range(place), access) {
                        Some(entry) => list.set(place, entry),
                        None => missing += 1,
                    }
                }
            }
            if missing > 1 {
                ahead = unwatched(|| self.prepare(list, access, missing))?;
            }
        }
        let result = (0..list.count()).try_for_each(|place| {
            if list.entry(place).is_null() {
                let index = self.get_one(place, list.range(place), access, &mut ahead, made)?;
                list.set(place, self.entries.at(index));
            }
            Ok(())
        });
        self.give_up(ahead);
        result
    }

    /// An entry for one range of a list; its slot is in `made` if it was registered now.
    fn get_one(
        &self,
        place: usize,
        range: Range,
        access: u32,
        ahead: &mut Ahead,
        made: &mut Vec<u32>,
    ) -> Result<u32, Errno> {
        if let Some(entry) = self.find_noted(range, access) {
            return Ok(self.entries.index_of(entry));
        }
        made.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let planned = (ahead.take(place)).and_then(|planned| self.get_planned(planned, range));
        let (index, is_made) = match planned {
            Some(got) => got?,
            None => match self.find_slow(range, access) {
                // What another thread registers for it this moment passes for made here.
                Err(Errno::ENOENT) => {
                    let held = ManuallyDrop::new(self.get(range, access)?);
                    (self.entries.index_of(held.entry), true)
                }
                found => (found?, false),
            },
        };
        if is_made {
            made.push(index);
        }
        Ok(index)
    }

    /// Puts back what was got, by a call that has failed.
    ///
    /// # Errors
    /// `ESCAPED`: a callback did not return, now or before; all was put.
    #[cold]
    pub(crate) fn put_all(&self, list: &mut impl Scattered) -> Result<(), Errno> {
        for place in 0..list.count() {
            // SAFETY: null, or an entry of this cache that is held; entries are
            // never unmapped while it lives.
            if let Some(entry) = unsafe { list.entry(place).as_ref() } {
                list.set(place, std::ptr::null());
                self.put(entry);
            }
        }
        if unwinding::is_held() {
            return Err(Errno::ESCAPED);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
