// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was done, in one line when the process ends, for who asked by
//! KDREG_VERBS_STATS.

use crate::counts::*;
use crate::environment::switch;
use crate::{domain, log, odp, watch};
use std::sync::atomic::{AtomicU64, Ordering};

static PASSED: [(&Count, &str); 7] = [
    (&DISABLED, "KDREG_VERBS_DISABLE"),
    (&REMOTE, "rights for peers"),
    (&KIND, "other flags"),
    (&OTHER, "ibv_reg_mr_ex or dma-buf"),
    (&IN_USE, "in use by others"),
    (&UNWATCHED, "no monitor"),
    (&UNCACHED, "refused by the cache"),
];

static GONE: [(&Count, &str); 2] = [(&POSTED, "work outstanding"), (&UNSEEN, "work not seen")];

/// The sum of counts, and what it is made of: "3 (2 of this, 1 of that)".
fn sum(counts: &[(&Count, &str)], what: &str) -> String {
    let counts: Vec<_> = counts
        .iter()
        .map(|(count, name)| (count.get(), name))
        .filter(|(count, _)| *count > 0)
        .collect();
    let total: u64 = counts.iter().map(|(count, _)| count).sum();
    let parts: Vec<_> = counts
        .iter()
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    if parts.is_empty() {
        format!("0 {what}")
    } else {
        format!("{total} {what} ({})", parts.join(", "))
    }
}

/// Runs when the library is loaded: KDREG_VERBS_STATS says what was done when
/// the process ends, whatever that was.
extern "C" fn loaded() {
    if switch(c"KDREG_VERBS_STATS") {
        // SAFETY: a function that may be called at exit; this library is never
        // unloaded (-z nodelete).
        unsafe { libc::atexit(at_exit) };
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static LOADED: extern "C" fn() = loaded;

extern "C" fn at_exit() {
    if watch::is_forked_child() {
        return;
    }
    let all = domain::statistics();
    let number = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let made = number(&odp::MADE);
    let on_demand = if made > 0 {
        format!(
            "; {made} on demand, {} again, {} prefetched",
            number(&odp::AGAIN),
            number(&odp::PREFETCHED)
        )
    } else {
        String::new()
    };
    log::line(format_args!(
        "{} registrations asked for: {} hits, {} registered, {}, {} failed; {} merged, \
         {} invalidated, {} evicted, {} uncached; {}, {} reregistered{on_demand}; backend {}",
        ASKED.get(),
        all.hits.saturating_sub(HELD.get()),
        all.registrations,
        sum(&PASSED, "passed through"),
        FAILED.get(),
        all.merges,
        all.invalidations,
        all.evictions,
        all.uncached,
        sum(&GONE, "given up at once"),
        REREGISTERED.get(),
        watch::backend()
    ));
}
