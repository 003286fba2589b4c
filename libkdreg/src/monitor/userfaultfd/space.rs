// SPDX-License-Identifier: MIT OR Apache-2.0
//! The address space as those who watch it see it: what is mapped, and what of it
//! is registered. A model of it takes its place in `model`.

use super::abi;
use super::mappings::{Mapping, Mappings};
use crate::descriptor::Descriptor;
use crate::errno::Errno;
use crate::monitor::mapped;
use crate::range::Range;
use std::os::fd::{BorrowedFd, RawFd};

pub(super) trait Space {
    /// The first mapping that ends above `address`, if there is one.
    fn from(&self, address: usize) -> Result<Option<Mapping>, Errno>;

    /// The mapping that holds `address`; `EFAULT` when there is none.
    fn at(&self, address: usize) -> Result<Mapping, Errno> {
        match self.from(address)? {
            Some(mapping) if mapping.range.start() <= address => Ok(mapping),
            _ => Err(Errno::EFAULT),
        }
    }

    /// Whether such a question costs little, however much is mapped.
    fn is_quickly_asked(&self) -> bool;

    /// `EFAULT` when part of `range` is not mapped at the moment.
    fn check_mapped(&self, range: Range) -> Result<(), Errno>;

    /// Subscribes to what happens to what is mapped in `range`. Fails where any of
    /// it is another userfaultfd's; again is harmless.
    fn register(&self, range: Range) -> Result<(), Errno>;

    /// Ends that, where it is.
    fn unregister(&self, range: Range);

    /// Whether [`Space::fully_watched`] can be asked.
    fn can_look(&self) -> bool;

    /// Whether every page of `range` is mapped and watched by some userfaultfd, by
    /// one look at all of it.
    fn fully_watched(&self, range: Range) -> Result<bool, Errno>;
}

/// That of this process.
pub(super) struct Process {
    /// The userfaultfd. Not owned: open for as long as it is asked.
    pub fd: RawFd,
    /// /proc/self/pagemap where it can confirm a watch (Linux 6.7).
    pub pagemap: Option<Descriptor>,
    pub mappings: Mappings,
}

impl Process {
    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the handler keeps the descriptor open until it is told to stop,
        // when nothing is watched any more. (Should the application close it
        // behind our back, the calls fail, and the handler notices.)
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

impl Space for Process {
    fn from(&self, address: usize) -> Result<Option<Mapping>, Errno> {
        self.mappings.from(address)
    }

    fn is_quickly_asked(&self) -> bool {
        self.mappings.are_queried()
    }

    fn check_mapped(&self, range: Range) -> Result<(), Errno> {
        mapped::check(range)
    }

    fn register(&self, range: Range) -> Result<(), Errno> {
        abi::register(&self.fd(), range)
    }

    fn unregister(&self, range: Range) {
        abi::unregister(&self.fd(), range);
    }

    fn can_look(&self) -> bool {
        self.pagemap.is_some()
    }

    fn fully_watched(&self, range: Range) -> Result<bool, Errno> {
        let pagemap = self.pagemap.as_ref().ok_or(Errno::EOPNOTSUPP)?;
        abi::fully_watched(pagemap, range)
    }
}
