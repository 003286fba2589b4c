// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much does not fit.

/// By how much the limits would be exceeded.
#[derive(Clone, Copy)]
pub(super) struct Excess {
    pub entries: usize,
    pub bytes: usize,
}

impl Excess {
    pub fn is_none(self) -> bool {
        self.entries == 0 && self.bytes == 0
    }
}
