// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the user says by environment variables, and what is said to the user.

use crate::{domain, odp, watch};
use std::ffi::{CStr, c_int};
use std::fmt;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counted here; what the caches count is theirs. Relaxed throughout: numbers
/// for people.
pub struct Count(AtomicU64);

impl Count {
    const fn new() -> Count {
        Count(AtomicU64::new(0))
    }

    pub fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

pub static ASKED: Count = Count::new();
/// Of those asked for, how many got none.
pub static FAILED: Count = Count::new();
/// What was found, and not taken, as somebody had it already.
pub static HELD: Count = Count::new();
/// Calls of `ibv_rereg_mr`.
pub static REREGISTERED: Count = Count::new();

/// Why libibverbs made a registration, and no cache.
pub static DISABLED: Count = Count::new();
pub static REMOTE: Count = Count::new();
pub static KIND: Count = Count::new();
pub static OTHER: Count = Count::new();
pub static IN_USE: Count = Count::new();
pub static UNWATCHED: Count = Count::new();
pub static UNCACHED: Count = Count::new();

static PASSED: [(&Count, &str); 7] = [
    (&DISABLED, "KDREG_VERBS_DISABLE"),
    (&REMOTE, "rights for peers"),
    (&KIND, "other flags"),
    (&OTHER, "ibv_reg_mr_ex or dma-buf"),
    (&IN_USE, "in use by others"),
    (&UNWATCHED, "no monitor"),
    (&UNCACHED, "refused by the cache"),
];

/// Why a registration did not stay when its user gave it back.
pub static POSTED: Count = Count::new();
pub static UNSEEN: Count = Count::new();

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

pub struct Settings {
    /// KDREG_VERBS_DISABLE: every call goes to libibverbs.
    pub disabled: bool,
    /// KDREG_VERBS_KEEP_REMOTE: registrations that peers have keys to are kept too.
    pub keep_remote: bool,
    /// KDREG_VERBS_MAX_BYTES: the most bytes kept registered in a cache; 0: no limit.
    pub max_bytes: usize,
    /// KDREG_LOG=off: say nothing else.
    quiet: bool,
}

/// The value of a variable, which nobody may change while a program reads it.
fn variable(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: a C string, and one of the environment's.
    unsafe {
        let value = libc::getenv(name.as_ptr());
        (!value.is_null()).then(|| CStr::from_ptr(value))
    }
}

/// The same as text.
pub fn text_of(name: &CStr) -> Option<&'static str> {
    variable(name).map(|value| value.to_str().unwrap_or("(not UTF-8)"))
}

fn switch(name: &CStr) -> bool {
    variable(name).is_some_and(|value| !value.is_empty() && value != c"0")
}

/// Read when the first device is opened. A OnceLock that is not waited for in a
/// forked child: that asks for no settings.
pub fn settings() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let quiet =
            variable(c"KDREG_LOG").is_some_and(|value| [c"off", c"none", c"0"].contains(&value));
        let max_bytes = variable(c"KDREG_VERBS_MAX_BYTES")
            .map_or("", |value| value.to_str().unwrap_or("(not UTF-8)"));
        let max_bytes = max_bytes.parse().unwrap_or_else(|_| {
            if !max_bytes.is_empty() && !quiet {
                line(format_args!(
                    "KDREG_VERBS_MAX_BYTES={max_bytes} is not a number of bytes: no limit"
                ));
            }
            0
        });
        Settings {
            disabled: switch(c"KDREG_VERBS_DISABLE"),
            keep_remote: switch(c"KDREG_VERBS_KEEP_REMOTE"),
            max_bytes,
            quiet,
        }
    })
}

fn line(message: fmt::Arguments<'_>) {
    // What is too long for it is cut off; there may be no memory for more.
    let mut bytes = [0; 1024];
    let mut rest = &mut bytes[..1023];
    let _ = write!(rest, "kdreg-verbs: {message}");
    let length = 1023 - rest.len();
    bytes[length] = b'\n';
    // One write, so that lines of several processes stay whole, and by its
    // number, which is no cancellation point; a closed standard error is no
    // reason to fail.
    // SAFETY: reads what was written of a local array.
    unsafe {
        libc::syscall(
            libc::SYS_write,
            libc::STDERR_FILENO,
            bytes.as_ptr(),
            length + 1,
        );
    }
}

/// Says something that is the same each time; the first of such only.
pub fn once(message: fmt::Arguments<'_>) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) && !settings().quiet {
        line(message);
    }
}

/// Says that a variable's value is none; once.
pub fn bad_value(message: fmt::Arguments<'_>) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) && !settings().quiet {
        line(message);
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
    line(format_args!(
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

/// What the calling thread's errno is.
pub fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Sets it, as libibverbs does for its callers.
pub fn set_errno(value: c_int) {
    // SAFETY: the address of the calling thread's errno.
    unsafe { *libc::__errno_location() = value }
}
