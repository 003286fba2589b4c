// SPDX-License-Identifier: MIT OR Apache-2.0
//! The slots of a ring, as the cache fills and empties them.

use super::abi;
use super::advice::{Advice, Doing};
use super::slots::Slots;
use super::{Options, Place};
use crate::cache::{Handle, Registrar};
use crate::descriptor::Descriptor;
use crate::errno::Errno;
use crate::memory::Share;
use crate::range::Range;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd};

/// A table of slots, or a window of one.
pub(super) struct Table {
    /// A descriptor of our own: the number that the caller passed may name
    /// another ring by the time a buffer is released.
    ring: Descriptor,
    slots: Slots,
    tag: u64,
    /// The table was made here and ends here.
    own: bool,
    advice: Advice,
}

impl Table {
    /// What is there to know of it; the ring is still as it was.
    pub fn new(ring: BorrowedFd<'_>, options: &Options) -> Result<Table, Errno> {
        let slots = Slots::new(options.first(), options.count())?;
        let advice = Advice::default();
        let ring = ring.try_clone_to_owned().map_err(|error| {
            let error = Errno::new(error.raw_os_error().unwrap_or(libc::EIO));
            advice.give(Doing::of(options.place), error)
        })?;
        Ok(Table {
            slots,
            ring: Descriptor::new(ring.into_raw_fd()),
            tag: options.tag,
            own: matches!(options.place, Place::Table(_)),
            advice,
        })
    }

    /// Makes the table or empties the window.
    pub fn make(&self, place: Place) -> Result<(), Errno> {
        match place {
            Place::Table(count) => abi::make_table(self.ring.as_fd(), count),
            Place::Window { first, count } => abi::empty(self.ring.as_fd(), first, count),
        }
        .map_err(|error| self.advice.give(Doing::of(place), error))
    }

    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    pub fn advice(&self) -> &Advice {
        &self.advice
    }

    /// Empties the slots that another thread could not, as far as this one can.
    /// `EEXIST` when that is for another thread to do.
    #[cold]
    pub fn empty_stale(&self) -> Result<(), Errno> {
        while let Some(slot) = self.slots.take_stale() {
            if let Err(error) = abi::empty(self.ring.as_fd(), slot, 1) {
                self.slots.give_stale(slot);
                return Err(error);
            }
            self.slots.give(slot);
        }
        Ok(())
    }

    /// Ends a table of our own; its slots are empty by now.
    pub fn end(&self) {
        // What it could not empty ends with the table.
        let _ = self.empty_stale();
        if self.own {
            if let Err(error) = abi::end_table(self.ring.as_fd()) {
                self.advice.give(Doing::Deregister, error);
            }
        }
    }
}

// No cancellation point: system calls by their numbers, and the log's, which
// holds cancellation off.
impl Registrar for Share<Table> {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        if range.len() > abi::LONGEST {
            return Err(Errno::EMSGSIZE);
        }
        if self.slots.any_stale() {
            self.empty_stale()?;
        }
        let slot = self.slots.take()?;
        match abi::fill(self.ring.as_fd(), slot, range, self.tag) {
            Ok(()) => Ok(Handle(slot as usize)),
            Err(error) => {
                // A failed update leaves the slot as it was: empty.
                self.slots.give(slot);
                Err(error)
            }
        }
    }

    fn deregister(&self, _range: Range, handle: Handle) {
        let slot = handle.0 as u32;
        // Nobody holds the index. Requests still under way, of a caller that
        // put too early, keep the buffer they started with.
        match abi::empty(self.ring.as_fd(), slot, 1) {
            Ok(()) => self.slots.give(slot),
            Err(error) => {
                self.slots.give_stale(slot);
                // Another thread than the submitter cannot, and need not.
                if error.value() != libc::EEXIST {
                    self.advice.give(Doing::Deregister, error);
                }
            }
        }
    }
}
