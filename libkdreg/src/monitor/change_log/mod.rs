// SPDX-License-Identifier: MIT OR Apache-2.0
// Files, in reading order:
//   abi        what kdregd, its programs and the library agree on
//   changes    the log, as it is read
//   orders     its memory orders
//   marks      how far it was applied to the words
//   reader     what a check looks at, and what brings it up to date
//! The log of changes that kdregd's programs write, as a check reads it: below
//! the tables that it is applied to, and below the backend that gets it.

#[doc(hidden)]
pub mod abi;
mod changes;
mod marks;
mod orders;
mod reader;

pub(crate) use changes::{Entry, Log};
pub(crate) use marks::{Marked, Standing};
pub(crate) use reader::{Reader, Source};
#[cfg(test)]
pub(super) mod tests;
