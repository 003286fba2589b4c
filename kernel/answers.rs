// SPDX-License-Identifier: GPL-2.0-only

//! What [`Regions`] answers: what became of a request, how far a batch has got, which events were
//! taken, and what it counts.
//!
//! [`Regions`]: crate::regions::Regions

use crate::{abi::*, change_mask::CHANGE_BITS};

/// What became of a [`Request`].
///
/// [`Request`]: crate::request::Request
pub(crate) enum Added {
    /// Monitored from now on.
    New(Kdreg2MonitoringParams),
    /// The same region was monitored already.
    Same(Kdreg2MonitoringParams),
    /// The chunk with this number has to be installed first; nothing changed.
    NeedsChunk(usize),
}

/// The same where the parameters have been told already.
pub(crate) enum Outcome {
    New,
    Same,
    NeedsChunk(usize),
}

/// How far a batch has got.
#[derive(Default)]
pub(crate) struct Progress {
    /// Entries that have their results.
    pub(crate) entries: usize,
    /// Those of them that are new, as a set of bits.
    pub(crate) new: u64,
}

/// Events that have been taken off the list: see [`Regions::take_events`].
///
/// [`Regions::take_events`]: crate::regions::Regions::take_events
#[must_use]
pub(crate) struct Taken {
    pub(crate) head: u32,
    pub(crate) tail: u32,
    pub(crate) count: u32,
}

impl Taken {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }
}

/// Counters for fdinfo and DUMP_STATS.
#[derive(Clone, Copy, Default)]
pub(crate) struct Statistics {
    pub(crate) max: u32,
    pub(crate) active: u32,
    pub(crate) pending: u32,
    pub(crate) total: u64,
    pub(crate) monitored: u64,
    pub(crate) unmonitored: u64,
    pub(crate) retired: u32,
    pub(crate) by_change: [u64; CHANGE_BITS as usize],
}
