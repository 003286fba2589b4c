// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is to be registered.

use super::asking::Terms;
use crate::range::Range;

/// What is to be registered: a range, widened and perhaps merged, and rights.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    /// What is registered and watched: what is served, or that widened to the
    /// alignment.
    pub range: Range,
    /// What the entry will be found for.
    pub served: Range,
    pub access: u32,
    pub terms: Terms,
}

impl Request {
    /// The same, where less will be asked for if this cannot be.
    pub(super) fn speculative(mut self) -> Request {
        self.terms.speculative = true;
        self
    }
}
