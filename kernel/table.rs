// SPDX-License-Identifier: GPL-2.0-only

//! Tables of C function pointers, in statics.

/// A C table of operations.
pub(crate) struct Table<T>(T);

// SAFETY: All that can be had of a table is its address.
unsafe impl<T> Sync for Table<T> {}

impl<T> Table<T> {
    pub(crate) const fn new(table: T) -> Self {
        Self(table)
    }

    /// The table as C takes it, which does not write to it.
    pub(crate) const fn as_ptr(&self) -> *const T {
        &raw const self.0
    }
}
