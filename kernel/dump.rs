// SPDX-License-Identifier: GPL-2.0-only

//! A descriptor's statistics in the kernel's log, as often as that can bear it.

use crate::context::Context;
use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};

/// When the next statistics may be dumped, in nanoseconds of the monotonic clock.
static NEXT_DUMP: Atomic<u64> = Atomic::new(0);
/// Anybody may ask, but nobody shall fill the log: so many in a row, and then one in such a time
/// (nanoseconds). A day of it is 17,280 lines of a hundred bytes.
const DUMPS_IN_A_ROW: u64 = 10;
const DUMP_INTERVAL: u64 = 10_000_000_000;

/// Whether there may be one now. There are never more than there may, whoever comes at the same
/// moment.
fn may_dump() -> bool {
    // SAFETY: This can be called at any time.
    let now = unsafe { bindings::ktime_get_mono_fast_ns() };
    // Relaxed: this says nothing about anything else.
    let next = NEXT_DUMP.load(Relaxed);
    if next > now.saturating_add(DUMP_INTERVAL * (DUMPS_IN_A_ROW - 1)) {
        return false;
    }
    // As time goes by, credit for some in a row comes back.
    let after = next.max(now) + DUMP_INTERVAL;
    NEXT_DUMP.cmpxchg(next, after, Relaxed).is_ok()
}

/// DUMP_STATS. Where there have been too many, it says nothing.
pub(crate) fn statistics(context: &Context) {
    if !may_dump() {
        return;
    }
    let s = context.statistics();
    pr_info!(
        "max_regions {} active {} monitored {} unmonitored {} retired {}\n",
        s.max,
        s.active,
        s.monitored,
        s.unmonitored,
        s.retired
    );
    let [unmap, clear, protection, write_protect, soft_dirty, migrate, exclusive] = s.by_change;
    pr_info!(
        "events: total {} pending {}; unmap {} clear {} protection {} write_protect {} \
         soft_dirty {} migrate {} exclusive {}\n",
        s.total,
        s.pending,
        unmap,
        clear,
        protection,
        write_protect,
        soft_dirty,
        migrate,
        exclusive
    );
}
