// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a check reads the log by: the maps that have it, and the table whose
//! regions it is applied to.

use super::maps::Maps;
use crate::errno::Errno;
use crate::memory::{self, Share};
use crate::monitor::Reason;
use crate::monitor::change_log::{Log, Marked, Reader, Source};
use crate::monitor::table::Table;
use crate::range::Range;
use std::sync::atomic::AtomicU64;

struct Logged {
    maps: Share<Maps>,
    table: Share<Table>,
}

/// Has `reader` read the log of `maps` for `table`, in which nothing is armed.
pub(super) fn open(reader: &Reader, maps: Share<Maps>, table: Share<Table>) -> Result<(), Errno> {
    reader.open(memory::try_box(Logged { maps, table })?);
    Ok(())
}

impl Source for Logged {
    fn log(&self) -> Log<'_> {
        self.maps.log()
    }

    fn guard(&self) -> &AtomicU64 {
        self.maps.guard()
    }

    fn mark(&self, range: Range, reason: Reason) -> Marked {
        match self.table.try_invalidate_some(range, reason) {
            None => Marked::Not,
            Some(true) => Marked::Some,
            Some(false) => Marked::All,
        }
    }
}
