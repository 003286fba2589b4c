// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory orders of `log` and `marks`, each with what it pairs with.
//!
//! Named here and not where they stand, so that `tests/log_models.rs` can take
//! each away in turn and see that the model fails: none is there for comfort.

use crate::sync::Ordering;

/// Loading the log's tail, and the guard's word. Pairs with the writers' full
/// barriers: whoever was told of a change, by any means that order memory, sees
/// the tail it moved; and with a tail come the entries finished before it.
pub(super) const SEE: Ordering = Ordering::Acquire;

/// Loading how far the log was applied, and up to which loss everything was
/// invalidated. Pairs with [`PUBLISH`]: the state words that were bumped for it are
/// seen by who sees this.
pub(super) const TAKE: Ordering = Ordering::Acquire;

/// Storing the same, once the words are bumped.
pub(super) const PUBLISH: Ordering = Ordering::Release;

/// Loading an entry's sequence before its payload. Pairs with the writer's last
/// store to it, which comes after the payload's.
pub(super) const BEFORE: Ordering = Ordering::Acquire;

/// The fence between the payload and the second look at its sequence. Pairs
/// with the writer's barrier behind its first store to it: who read any of a
/// later payload sees that sequence, or a later one.
pub(super) const BEHIND: Ordering = Ordering::Acquire;

/// Loading the number of entries finished, before the tail. Pairs with the writer's
/// full barrier: who sees all finished sees their payloads, and none is written
/// to any more.
pub(super) const FINISHED: Ordering = Ordering::Acquire;
