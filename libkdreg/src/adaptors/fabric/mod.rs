// SPDX-License-Identifier: MIT OR Apache-2.0
// Files, in reading order:
//   abi         libfabric's structures
//   library     libfabric, opened when it is needed
//   ranges      what it has subscribed to
//   callbacks   what it calls
//   dispatcher  the thread that tells it of changes
//   ffi         the C face
//! libkdreg as libfabric's memory monitor.
//!
//! libfabric's providers cache registrations themselves, in a cache that asks a
//! memory monitor whether what it found is still valid. [`Import`] hands it
//! this library as that monitor (`fi_open("mr_cache")`, `fi_import_fid`),
//! so that libfabric's own cache, in the distribution's binary, cannot go stale.
//!
//! # Threads and locks
//! libfabric calls `subscribe`, `unsubscribe` and `valid` with its process-wide
//! `mm_lock` held, `start` and `stop` with another one. `notify`, which has it
//! drop what changed, takes `mm_lock` and calls `unsubscribe` from inside. So:
//!
//! * the lock of the subscriptions is taken inside `mm_lock`, and is never held
//!   across `notify`;
//! * `notify` is called by one thread of this library's (dispatcher.rs) alone: an
//!   application's thread may be inside malloc, or hold `mm_lock`. It exists
//!   from the first `start` on, so that nothing is notified before;
//! * userfaultfd's handler thread takes neither lock: memory may be allocated
//!   and unmapped under both.
//!
//! `valid` is the truth, and never late. `notify` is only what releases a
//! registration that nobody looks up any more.

mod abi;
mod callbacks;
mod dispatcher;
pub mod ffi;
pub mod library;
mod ranges;

use crate::adaptors::loader::Text;
use crate::environment;
use crate::errno::Errno;
use crate::lock::Mutex;
use crate::log::{self, Level};
use crate::memory::Share;
use crate::monitor::{self, Kind, Monitor, Region};
use abi::{CLASS_MEM_MONITOR, Fid, MonitorFid, NotifyOps};
use dispatcher::Dispatcher;
use library::Library;
use ranges::{Key, Ranges};
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The variable that names one of libfabric's own monitors.
pub const MONITOR_VARIABLE: &std::ffi::CStr = c"FI_MR_CACHE_MONITOR";

/// What was counted since the import.
#[derive(Default)]
struct Counts {
    starts: AtomicU64,
    subscriptions: AtomicU64,
    unwatched: AtomicU64,
    hits: AtomicU64,
    stale: AtomicU64,
    notifications: AtomicU64,
}

impl Counts {
    /// Relaxed: a count of its own, which orders nothing.
    fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// A snapshot of what an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// How often libfabric has started the monitor: 0 when no provider in this
    /// process has set up a registration cache.
    pub starts: u64,
    /// Registrations that entered one of libfabric's caches.
    pub subscriptions: u64,
    /// Those among them whose memory cannot be watched: never valid.
    pub unwatched: u64,
    /// Lookups that found a registration, and were told that it is valid.
    pub hits: u64,
    /// Lookups that found a registration, and were told that it is stale.
    pub stale: u64,
    /// Ranges that libfabric was told to drop, without having asked.
    pub notifications: u64,
    /// Ranges watched now.
    pub ranges: u64,
}

/// What libfabric has subscribed to, and what it is still to be told.
#[derive(Default)]
struct Subscriptions {
    ranges: Ranges<Region>,
    /// Ranges, with the numbers of their records, that were stale already when
    /// they were subscribed to: no event follows for these.
    due: Vec<(Key, u64)>,
}

/// What libfabric knows the monitor by, and what its callbacks need.
#[repr(C)]
struct Imported {
    /// First: libfabric hands its address back. libfabric writes to it, during
    /// the import and when it is closed.
    fid: UnsafeCell<MonitorFid>,
    monitor: Monitor,
    /// Protects the ranges; see above on what may be done under it.
    subscriptions: Mutex<Subscriptions>,
    /// Shared with the thread, and with the end of the process.
    dispatcher: Share<Dispatcher>,
    /// Between `start` and `stop`: one of libfabric's caches exists. Release
    /// when set, Acquire when read: what `start` did is there.
    running: AtomicBool,
    counts: Counts,
}

// SAFETY: the fid is written by libfabric during fi_import_fid and fi_close
// alone, which happen before the first callback and after the last; everything
// else in it is Sync by itself.
unsafe impl Sync for Imported {}
// SAFETY: as above; nothing in it belongs to a thread.
unsafe impl Send for Imported {}

/// How to import.
pub struct Options<'a> {
    /// Whose backend to use; `None`: the shared default.
    pub monitor: Option<&'a Monitor>,
    /// The libfabric to import into.
    pub library: Library,
    /// Import although the environment names one of libfabric's monitors.
    pub override_environment: bool,
}

/// libkdreg, imported into libfabric. There is at most one in a process.
pub struct Import {
    /// One share, which is not moved: libfabric has its address.
    imported: Share<Imported>,
    library: Library,
}

impl Import {
    /// Imports the monitor. To be called after `fi_getinfo` and before the
    /// first domain is opened.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT`: libfabric is older than 1.13. `ECANCELED`: the
    /// environment names another monitor. `EBUSY`: another one was imported, or
    /// a cache is in use already. What opening a monitor fails with.
    pub fn new(options: Options<'_>) -> Result<Import, Errno> {
        if !options.override_environment {
            heed_environment()?;
        }
        let library = options.library;
        check_version(library.version())?;
        let monitor = match options.monitor {
            Some(monitor) => monitor.sibling()?,
            None => Monitor::open(&monitor::Options::default())?,
        };
        let imported = Share::new(Imported {
            fid: UnsafeCell::new(MonitorFid {
                fid: Fid {
                    fclass: CLASS_MEM_MONITOR,
                    context: std::ptr::null_mut(),
                    ops: std::ptr::null(),
                },
                export_ops: &raw const callbacks::OPS,
                import_ops: std::ptr::null(),
            }),
            monitor,
            subscriptions: Mutex::default(),
            dispatcher: Share::new(Dispatcher::new()?)?,
            running: AtomicBool::new(false),
            counts: Counts::default(),
        })?;
        hand_over(&library, &imported)?;
        dispatcher::end_at_exit(&imported.dispatcher);
        announce(&library, &imported.monitor);
        Ok(Import { imported, library })
    }

    /// Whether one of libfabric's caches is using the monitor.
    pub fn is_in_use(&self) -> bool {
        self.imported.running.load(Ordering::Acquire)
    }

    /// What the import did so far.
    pub fn statistics(&self) -> Statistics {
        let counts = &self.imported.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Statistics {
            starts: read(&counts.starts),
            subscriptions: read(&counts.subscriptions),
            unwatched: read(&counts.unwatched),
            hits: read(&counts.hits),
            stale: read(&counts.stale),
            notifications: read(&counts.notifications),
            ranges: self.imported.subscriptions.lock().ranges.len() as u64,
        }
    }

    /// What libfabric calls its version, as `FI_VERSION` packs it.
    pub fn library_version(&self) -> u32 {
        self.library.version()
    }

    /// The backend that watches.
    pub fn kind(&self) -> Kind {
        self.imported.monitor.kind()
    }
}

impl Drop for Import {
    /// libfabric forgets the monitor. The C face does not let this happen while
    /// [`Import::is_in_use`]: libfabric would call what is gone.
    fn drop(&mut self) {
        if !self.imported.monitor.home().is_here() {
            return; // the parent's import; a child has no thread to end
        }
        let fid = self.imported.fid.get().cast::<Fid>();
        // SAFETY: libfabric has set the operations when it took the monitor;
        // no callback is running, as no cache uses it.
        let result = unsafe { (*fid).ops.as_ref() }
            .and_then(|ops| ops.close)
            // SAFETY: as above; the fid is the one that was imported.
            .map_or(0, |close| unsafe { close(fid) });
        if result != 0 {
            log::say(
                Level::Warn,
                format_args!("libfabric failed to let go of the memory monitor: {result}"),
            );
        }
        self.imported.dispatcher.end();
        dispatcher::forget(&self.imported.dispatcher);
        for region in self.imported.subscriptions.lock().ranges.drain() {
            let _ = self.imported.monitor.unmonitor(region);
        }
    }
}

impl Imported {
    /// What libfabric knows this by.
    fn address(&self) -> *mut MonitorFid {
        self.fid.get()
    }

    /// Has libfabric drop what it keeps of a range. The caller holds no lock.
    fn notify(&self, key: Key) {
        // Acquire: pairs with the Release in `start`.
        if !self.running.load(Ordering::Acquire) {
            return;
        }
        let fid = self.address();
        // SAFETY: libfabric has set this before it called `start`, and leaves
        // it alone until the monitor is closed, which waits for this thread.
        let ops: Option<&NotifyOps> = unsafe { (*fid).import_ops.as_ref() };
        if let Some(notify) = ops.and_then(|ops| ops.notify) {
            Counts::add(&self.counts.notifications);
            // SAFETY: libfabric's function, given what was imported.
            unsafe { notify(fid, key.addr as *const c_void, key.len) };
        }
    }
}

/// `ECANCELED` when the user has chosen one of libfabric's own monitors.
fn heed_environment() -> Result<(), Errno> {
    let value = environment::variable(MONITOR_VARIABLE);
    let Some(value) = value.filter(|value| !value.as_str().is_empty()) else {
        return Ok(());
    };
    log::say(
        Level::Warn,
        format_args!(
            "libkdreg is not imported into libfabric, as the environment asks for another \
             monitor: {}={}. Unset it to use libkdreg",
            Text::from(MONITOR_VARIABLE),
            value.as_str()
        ),
    );
    Err(Errno::new(libc::ECANCELED))
}

fn check_version(found: u32) -> Result<(), Errno> {
    if found >= abi::version(1, 13) {
        return Ok(());
    }
    log::say(
        Level::Error,
        format_args!(
            "libfabric {}.{} cannot import a memory monitor: 1.13 or newer can",
            found >> 16,
            found & 0xffff
        ),
    );
    Err(Errno::new(libc::EPROTONOSUPPORT))
}

/// Opens libfabric's cache object, and binds the monitor to it.
fn hand_over(library: &Library, imported: &Imported) -> Result<(), Errno> {
    let mut cache: *mut Fid = std::ptr::null_mut();
    // SAFETY: fi_open with the arguments its manual page gives for "mr_cache".
    let result = unsafe {
        (library.open)(
            abi::version(1, 13),
            c"mr_cache".as_ptr(),
            std::ptr::null_mut(),
            0,
            0,
            &raw mut cache,
            std::ptr::null_mut(),
        )
    };
    if result != 0 || cache.is_null() {
        return Err(refused("fi_open(\"mr_cache\")", result));
    }
    // SAFETY: an open fid, which has operations.
    let ops = unsafe { (*cache).ops.as_ref() };
    let result = ops.and_then(|ops| ops.bind).map_or(-libc::ENOSYS, |bind| {
        // SAFETY: what fi_import_fid does, with a complete fid that stays where
        // it is until it is closed.
        unsafe { bind(cache, imported.address().cast(), 0) }
    });
    if let Some(close) = ops.and_then(|ops| ops.close) {
        // SAFETY: opened above, closed once; the import outlives it.
        unsafe { close(cache) };
    }
    if result != 0 {
        return Err(refused("fi_import_fid", result));
    }
    Ok(())
}

/// Says what an error of libfabric's means here.
fn refused(call: &str, result: i32) -> Errno {
    let error = Errno::new(result.saturating_neg());
    let advice = match error {
        Errno::EBUSY => {
            ": another memory monitor was imported before, or a domain with a registration \
             cache is open. Import before the first domain is opened. Open MPI imports a \
             monitor of its own: run it with --mca memory ^patcher, or preload \
             libkdreg-fabric.so, which comes first"
        }
        _ => "",
    };
    log::say(
        Level::Error,
        format_args!("libfabric takes no memory monitor: {call} returned {result}{advice}"),
    );
    error
}

fn announce(library: &Library, monitor: &Monitor) {
    let version = library.version();
    log::say(
        Level::Info,
        format_args!(
            "libfabric {}.{} has libkdreg as its memory monitor (backend {})",
            version >> 16,
            version & 0xffff,
            monitor.kind().name()
        ),
    );
    if monitor.kind() == Kind::None {
        log::say(
            Level::Warn,
            format_args!(
                "no backend works here, so libfabric will register anew for every transfer \
                 (kdreg_info says why)"
            ),
        );
    }
}
