// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory orders of `log` and `marks`, each with what it pairs with.
//!
//! Named here and not where they stand, so that `tests/log_models.rs` can take
//! each away in turn and see that a model fails.

use crate::sync::Ordering;

/// Loading the log's tail, or the guard's word, before what it stands for is marked.
/// Pairs with the writers' full barriers, and keeps the marking behind it: what is
/// counted after it was loaded is not taken for marked. (A check loads them
/// relaxed. That whoever was told of a change finds the tail moved is
/// coherence, by whatever told it; and the words are ordered by [`TAKE`].)
///
/// Not shown by the models: loom runs what follows a load behind it.
pub(crate) const SEE: Ordering = Ordering::Acquire;

/// Loading how far the log was applied, and up to which loss everything was
/// invalidated. Pairs with [`PUBLISH`]: the state words that were bumped for it are
/// seen by who sees this.
pub(crate) const TAKE: Ordering = Ordering::Acquire;

/// Storing the same, once the words are bumped.
pub(crate) const PUBLISH: Ordering = Ordering::Release;

/// Loading an entry's sequence before its payload. Pairs with the writer's last
/// store to it, which comes after the payload's.
pub(crate) const BEFORE: Ordering = Ordering::Acquire;

/// The fence between an entry's payload and the second look, at the tail. Pairs
/// with the writer's full barrier, which the tail is moved by before anything is
/// written: who read any of a later payload sees that tail, or a later one. So does
/// who read what a writer that was held up has put over a later payload: that takes
/// two full barriers, whatever lies between them.
pub(crate) const BEHIND: Ordering = Ordering::SeqCst;

/// Loading the number of entries finished, before the tail. Pairs with the writer's
/// full barrier: who sees all finished sees their payloads, and none is written
/// to any more. Not shown by the models: it takes another lap after an overtaking,
/// which is more than can be tried.
pub(crate) const FINISHED: Ordering = Ordering::Acquire;
