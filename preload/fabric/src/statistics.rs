// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is said when the program ends, if it is wanted.

use crate::kdreg::{self, kdreg_fabric_t};
use crate::libfabric;
use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering};

/// Set, and neither empty nor 0, this prints statistics at exit.
const VARIABLE: &str = "KDREG_FABRIC_STATS";

/// The import of this process; null when it failed.
static IMPORT: AtomicPtr<kdreg_fabric_t> = AtomicPtr::new(std::ptr::null_mut());
/// What it failed with.
static ERROR: AtomicI32 = AtomicI32::new(0);
/// The process that it belongs to: a forked child has nothing to say.
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// Whether a call was seen. Relaxed: only one caller may see `false`. Another
/// thread whose first fi_getinfo returns meanwhile may open its domain before the
/// import: then libfabric refuses, and libkdreg says so.
static CALLED: AtomicBool = AtomicBool::new(false);

/// A call was seen; whether it is the first.
pub(crate) fn first_call() -> bool {
    !CALLED.swap(true, Ordering::Relaxed)
}

/// Remembers the import for the end of the program.
pub(crate) fn imported(import: *mut kdreg_fabric_t, error: c_int) {
    // Relaxed: atexit orders what was done before against what it calls.
    IMPORT.store(import, Ordering::Relaxed);
    ERROR.store(error, Ordering::Relaxed);
}

/// Runs when the library is loaded.
extern "C" fn loaded() {
    // SAFETY: getpid has no preconditions; atexit is given a function without
    // captured state in a library that is never unloaded.
    unsafe {
        PROCESS.store(libc::getpid(), Ordering::Relaxed);
        libc::atexit(print);
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static LOADED: extern "C" fn() = loaded;

/// Whether messages at warn are wanted, as KDREG_LOG has it.
fn warns() -> bool {
    let level = std::env::var("KDREG_LOG").unwrap_or_default();
    !["off", "none", "0", "error", "1"].contains(&level.as_str())
}

extern "C" fn print() {
    // SAFETY: as above.
    let process = unsafe { libc::getpid() };
    if process != PROCESS.load(Ordering::Relaxed) {
        return;
    }
    let wanted = std::env::var_os(VARIABLE).is_some_and(|value| !value.is_empty() && value != "0");
    let line = if CALLED.load(Ordering::Relaxed) {
        if !wanted {
            return;
        }
        summary()
    } else if libfabric::loaded().is_none() {
        if !wanted {
            return;
        }
        "libfabric was not loaded".into()
    } else if wanted || warns() {
        "warn: libfabric was loaded, and no call of fi_getinfo was seen: it was not called, or \
         by another way than its symbol, or in a version that libkdreg-fabric.so does not know"
            .into()
    } else {
        return;
    };
    let line = format!("kdreg-fabric[{process}]: {line}\n");
    // In one piece: other processes of the job say the same at the same time. By
    // its number, as the C library's write() is a cancellation point: the thread
    // that ends the process may have been cancelled. A closed standard error is no
    // reason to fail.
    // SAFETY: reads a local string.
    unsafe {
        libc::syscall(
            libc::SYS_write,
            libc::STDERR_FILENO,
            line.as_ptr(),
            line.len(),
        )
    };
}

fn summary() -> String {
    let mut stats = kdreg::kdreg_fabric_stats {
        size: size_of::<kdreg::kdreg_fabric_stats>(),
        ..Default::default()
    };
    let import = IMPORT.load(Ordering::Relaxed);
    let mut error = ERROR.load(Ordering::Relaxed);
    if error == 0 {
        // SAFETY: an import that nobody releases, and a complete structure.
        error = unsafe { kdreg::kdreg_fabric_stats(import, &raw mut stats) };
    }
    if error != 0 {
        // SAFETY: never null, and copied at once.
        let text = unsafe { CStr::from_ptr(kdreg::kdreg_strerror(error)) };
        return format!("not imported into libfabric: {}", text.to_string_lossy());
    }
    if stats.starts == 0 {
        return "libfabric has used no registration cache: of the providers, verbs has one; \
                tcp, udp, shm and sockets have none"
            .into();
    }
    format!(
        "registrations {}, hits {}, stale {}, dropped {}, unwatched {}, watched now {}",
        stats.subscriptions,
        stats.hits,
        stats.stale,
        stats.notifications,
        stats.unwatched,
        stats.ranges
    )
}
