// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much a cache keeps, and how it treats what it is asked for.

use super::entries::{Entry, stride};
use super::group::Group;
use super::links;
use super::state::State;
use crate::errno::Errno;
use std::fmt;

/// Entries a cache keeps when not told otherwise.
const DEFAULT_MAX_ENTRIES: usize = 65_536;

/// Entries that may exist beyond those cached: in use but not cached, or not
/// yet released.
const BEYOND: usize = 65_536;

/// The most bytes of a caller's in an entry: a page with the entry itself.
const LARGEST_DATA: usize = 4096 - 64 - 16;
// No page is smaller: see `Entries::find`.
const _: () = assert!(stride(LARGEST_DATA) * size_of::<Entry>() == 4096);

/// How to make a [`Cache`](super::Cache). The default is right for most.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The most entries kept; 0: 65,536. What does not fit, because everything
    /// else is in use, is registered uncached and released when put.
    pub max_entries: usize,
    /// The most bytes kept registered; 0: no limit.
    pub max_bytes: usize,
    /// How many bytes may be left to the reaper to deregister; 0: everything
    /// is deregistered by the call that frees it.
    pub max_unreleased: usize,
    /// Ranges are widened to multiples of this many bytes, a power of two not
    /// below the page size; 0: the page size. Where discards are announced
    /// before their pages go (userfaultfd) the wide range is registered, and
    /// serves what was asked for of it.
    pub alignment: usize,
    /// The largest registration that merging may make, in bytes; 0: no limit.
    pub max_merge: usize,
    /// Bytes of the caller's in each entry, at [`Registration::data`]; 4,016 at
    /// most.
    ///
    /// [`Registration::data`]: super::Registration::data
    pub entry_size: usize,
    /// What it is called in dumps and by `kdreg_info`; empty: nothing.
    pub name: Name,
    /// Whose limits it shares, besides its own; `None`: nobody's.
    pub group: Option<Group>,
    /// Register just what is asked for, widened to `alignment`.
    pub no_merge: bool,
    /// No thread of the library's releases anything: callbacks run inside
    /// calls of the cache only.
    pub no_reaper: bool,
    /// While lookups only miss, register without keeping, all but one in 128:
    /// cheaper where no buffer is used twice. What is not kept is released
    /// when put, and counted as `uncached`.
    pub bypass: bool,
}

/// A short name, of printable ASCII without blanks.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; Name::LONGEST],
    length: usize,
}

impl Name {
    /// Bytes of the longest one.
    pub const LONGEST: usize = 31;

    /// `EINVAL` when it is too long, or has something else in it.
    pub fn new(name: &[u8]) -> Result<Name, Errno> {
        if name.len() > Name::LONGEST || !name.iter().all(u8::is_ascii_graphic) {
            return Err(Errno::EINVAL);
        }
        let mut bytes = [0; Name::LONGEST];
        bytes[..name.len()].copy_from_slice(name);
        Ok(Name {
            bytes,
            length: name.len(),
        })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl Options {
    pub(super) fn with_defaults(mut self) -> Options {
        let or = |value: usize, default| if value == 0 { default } else { value };
        self.max_entries = or(self.max_entries, DEFAULT_MAX_ENTRIES);
        self.max_bytes = or(self.max_bytes, usize::MAX);
        self.max_merge = or(self.max_merge, usize::MAX);
        self
    }

    /// How many entries there must be room for.
    pub(super) fn capacity(&self) -> Result<usize, Errno> {
        // Indices are 32 bits and the highest means "none".
        self.max_entries
            .checked_mul(2)
            .and_then(|twice| twice.checked_add(BEYOND + State::FIRST_SLOT as usize))
            .filter(|&capacity| capacity < u32::MAX as usize)
            .filter(|_| self.entry_size <= LARGEST_DATA)
            // More regions than a monitor has.
            .map(|capacity| capacity.min(links::MAX_ENTRIES / stride(self.entry_size)))
            .ok_or(Errno::EINVAL)
    }
}
