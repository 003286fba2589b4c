// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a call says of the registration it asks for, besides range and rights,
//! and what of it the caller's callbacks are told.

use super::{Cache, Held, Inner};
use crate::errno::Errno;
use crate::range::{Range, page_size};

/// How the registration is made that a lookup may have to make. What is found is
/// found whatever it was asked for with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ask {
    /// Reaches the registrar.
    pub arg: usize,
    /// As [`Options::alignment`](super::Options::alignment); 0: what that says.
    pub alignment: usize,
    /// Neither merged with others now nor, for others, later.
    pub no_merge: bool,
}

/// The same, as it goes with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Terms {
    pub arg: usize,
    /// The alignment's binary logarithm.
    pub shift: u8,
    /// In one byte: every miss copies it. [`NO_MERGE`], [`KEPT_ONLY`].
    pub flags: u8,
    /// See [`Registration::speculative`].
    pub speculative: bool,
    /// What watches it is there already, in its slot (`ahead`).
    pub watched: bool,
}

/// As [`Ask::no_merge`].
pub(super) const NO_MERGE: u8 = 1;
/// What cannot be kept is not registered (`ahead`).
pub(super) const KEPT_ONLY: u8 = 2;

impl Terms {
    #[inline]
    pub fn no_merge(&self) -> bool {
        self.flags & NO_MERGE != 0
    }

    #[inline]
    pub fn kept_only(&self) -> bool {
        self.flags & KEPT_ONLY != 0
    }

    pub fn alignment(&self) -> usize {
        1 << self.shift
    }
}

/// What a registrar is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Registration {
    /// The memory.
    pub range: Range,
    /// The rights.
    pub access: u32,
    /// [`Ask::arg`] of the call that has it made; 0 where it is undone.
    pub arg: usize,
    /// More is asked for than was asked of the cache: where this fails, less
    /// will be asked for at once. So it is no reason to say anything.
    pub speculative: bool,
    /// The caller's structure inside the entry, [`Options::entry_size`] bytes,
    /// zeroed before it is registered; null where that is 0.
    ///
    /// [`Options::entry_size`]: super::Options::entry_size
    pub data: *mut u8,
}

impl Cache {
    /// As [`Cache::get`], with more to say of what is registered where nothing
    /// is found.
    ///
    /// # Errors
    /// As [`Cache::get`]; `EINVAL` for a bad alignment.
    pub fn get_with(&self, range: Range, access: u32, ask: Ask) -> Result<Held<'_>, Errno> {
        let terms = self.inner.terms(ask)?;
        let inner = &*self.inner;
        if let Some(entry) = inner.hit(range.start(), range.len(), access) {
            return Ok(inner.held(entry));
        }
        Ok(inner.held(inner.entries.at(inner.get_asking(range, access, terms)?)))
    }
}

impl Inner {
    /// What a call asks that says nothing.
    #[inline]
    pub(super) fn ordinary(&self) -> Terms {
        Terms {
            arg: 0,
            shift: self.alignment.trailing_zeros() as u8,
            flags: 0,
            speculative: false,
            watched: false,
        }
    }

    /// [`Cache::get_with`] where there is no hit.
    #[inline(never)]
    pub(super) fn get_asking(&self, range: Range, access: u32, terms: Terms) -> Result<u32, Errno> {
        match self.find_noted(range, access) {
            Some(entry) => Ok(self.entries.index_of(entry)),
            None => self.get_slow_with(range, access, terms),
        }
    }

    pub(super) fn terms(&self, ask: Ask) -> Result<Terms, Errno> {
        let alignment = match ask.alignment {
            0 => self.alignment,
            own if own.is_power_of_two() && own >= page_size() => own,
            _ => return Err(Errno::EINVAL),
        };
        Ok(Terms {
            arg: ask.arg,
            shift: alignment.trailing_zeros() as u8,
            flags: if ask.no_merge { NO_MERGE } else { 0 },
            ..self.ordinary()
        })
    }
}
