// SPDX-License-Identifier: MIT OR Apache-2.0
//! Watching many ranges at once, and keeping what watches one by its parts.

use super::backend::RegionName;
use super::{Monitor, Needs, Region};
use crate::errno::Errno;
use crate::memory;
use crate::range::Range;
use std::sync::atomic::AtomicU32;

impl Region {
    /// What was a region, from what there is to say of it.
    pub(crate) fn new(word: &'static AtomicU32, generation: u32, slot: u32) -> Region {
        Region {
            word,
            generation,
            slot,
        }
    }
}

impl Monitor {
    /// Whether [`Monitor::monitor_all`] takes less than asking for each would.
    pub(crate) fn monitors_many(&self) -> bool {
        self.backend.monitors_many()
    }

    /// As [`Monitor::monitor_for`] for each of the ranges, which have their cookies beside
    /// them; what comes of them, in their order.
    ///
    /// # Errors
    /// `ENOMEM`: none of them is watched. `ECHILD`.
    pub(crate) fn monitor_all(
        &self,
        wanted: &[(Range, u64)],
        needs: Needs,
    ) -> Result<Vec<Result<Region, Errno>>, Errno> {
        self.home.check()?;
        let mut regions = memory::try_vec(wanted.len())?;
        self.backend
            .monitor_all(&self.subscriber, wanted, needs, &mut regions);
        debug_assert_eq!(regions.len(), wanted.len());
        Ok(regions)
    }

    /// As [`Monitor::unmonitor`], for a caller that kept the numbers only.
    #[inline]
    pub(crate) fn unmonitor_name(&self, name: RegionName) {
        if self.home.is_here() {
            self.backend.unmonitor(name);
        }
    }
}
