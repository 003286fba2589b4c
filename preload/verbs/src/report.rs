// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the user says by environment variables, and what is said to the user.

use crate::{domain, watch};
use std::ffi::c_int;
use std::fmt;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counted here; what the caches count is theirs. Relaxed throughout: numbers
/// for people.
pub static ASKED: AtomicU64 = AtomicU64::new(0);
/// Registrations that no cache made: not to be shared, or no cache to be had.
pub static PASSED: AtomicU64 = AtomicU64::new(0);
/// Of those asked for, how many got none.
pub static FAILED: AtomicU64 = AtomicU64::new(0);

pub struct Settings {
    /// KDREG_VERBS_DISABLE: every call goes to libibverbs.
    pub disabled: bool,
    /// KDREG_VERBS_MAX_BYTES: the most bytes kept registered in a cache; 0: no limit.
    pub max_bytes: usize,
    /// KDREG_VERBS_STATS: say what was done when the process ends.
    stats: bool,
    /// KDREG_LOG=off: say nothing else.
    quiet: bool,
}

fn switch(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0")
}

/// Read at the first registration. A OnceLock that is not waited for in a
/// forked child: that asks for no settings.
pub fn settings() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let quiet = std::env::var("KDREG_LOG")
            .is_ok_and(|value| ["off", "none", "0"].contains(&value.as_str()));
        let max_bytes = std::env::var("KDREG_VERBS_MAX_BYTES").unwrap_or_default();
        let max_bytes = max_bytes.parse().unwrap_or_else(|_| {
            if !max_bytes.is_empty() && !quiet {
                line(format_args!(
                    "KDREG_VERBS_MAX_BYTES={max_bytes} is not a number of bytes: no limit"
                ));
            }
            0
        });
        let stats = switch("KDREG_VERBS_STATS");
        if stats {
            // SAFETY: a function that may be called at exit; this library is
            // never unloaded (-z nodelete).
            unsafe { libc::atexit(at_exit) };
        }
        Settings {
            disabled: switch("KDREG_VERBS_DISABLE"),
            max_bytes,
            stats,
            quiet,
        }
    })
}

fn line(message: fmt::Arguments<'_>) {
    // One write, so that lines of several processes stay whole; a closed
    // standard error is no reason to fail.
    let _ = std::io::stderr().write_all(format!("kdreg-verbs: {message}\n").as_bytes());
}

/// Says something that is the same each time; the first of such only.
pub fn once(message: fmt::Arguments<'_>) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) && !settings().quiet {
        line(message);
    }
}

extern "C" fn at_exit() {
    if !settings().stats || watch::is_forked_child() {
        return;
    }
    let all = domain::statistics();
    line(format_args!(
        "{} registrations asked for: {} hits, {} registered, {} passed through, {} failed; \
         {} merged, {} invalidated, {} evicted, {} uncached; backend {}",
        ASKED.load(Ordering::Relaxed),
        all.hits,
        all.registrations,
        PASSED.load(Ordering::Relaxed),
        FAILED.load(Ordering::Relaxed),
        all.merges,
        all.invalidations,
        all.evictions,
        all.uncached,
        watch::backend()
    ));
}

/// What the calling thread's errno is.
pub fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Sets it, as libibverbs does for its callers.
pub fn set_errno(value: c_int) {
    // SAFETY: the address of the calling thread's errno.
    unsafe { *libc::__errno_location() = value }
}
