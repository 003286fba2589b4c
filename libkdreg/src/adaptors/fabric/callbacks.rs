// SPDX-License-Identifier: MIT OR Apache-2.0
//! What libfabric calls. See the parent module on locks.

use super::abi::{MonitorFid, MonitorOps};
use super::ranges::{Key, Subscribed};
use super::{Counts, Imported, dispatcher};
use crate::cancellation::HeldOff;
use crate::errno::Errno;
use crate::ffi::boundary::{shielded, status_for_library};
use crate::log::{self, Level};
use crate::range::Range;
use std::ffi::{c_int, c_void};
use std::sync::atomic::Ordering;

/// The monitor, as libfabric sees it.
pub(super) static OPS: MonitorOps = MonitorOps {
    size: size_of::<MonitorOps>(),
    start,
    stop,
    subscribe,
    unsubscribe,
    valid,
};

/// The import behind the address that libfabric hands back.
fn imported(monitor: *mut MonitorFid) -> &'static Imported {
    // SAFETY: libfabric passes the address it was given, which is that of an
    // `Imported` (repr(C), the fid first). It lives until after libfabric has
    // let go of it, and the thread that a callback starts has ended.
    unsafe { &*monitor.cast::<Imported>() }
}

fn key(addr: *const c_void, len: usize) -> Key {
    Key {
        addr: addr as usize,
        len,
    }
}

/// The first of libfabric's caches was made.
unsafe extern "C" fn start(monitor: *mut MonitorFid) -> c_int {
    status_for_library(|| {
        let imported = imported(monitor);
        // A child that was forked with the import has not its thread.
        imported.monitor.home().check()?;
        dispatcher::start(imported).inspect_err(|error| {
            log::say(
                Level::Error,
                format_args!("libfabric's cache stays off, a thread cannot be started: {error}"),
            );
        })?;
        Counts::add(&imported.counts.starts);
        // Release: pairs with the Acquire in `notify`.
        imported.running.store(true, Ordering::Release);
        Ok(())
    })
}

/// The last of libfabric's caches is gone. A notification under way may still
/// end after this: it finds no cache.
unsafe extern "C" fn stop(monitor: *mut MonitorFid) {
    imported(monitor).running.store(false, Ordering::Release);
}

/// A registration entered one of libfabric's caches.
///
/// This does not fail for memory that cannot be watched: what libfabric does then
/// differs between releases. The registration is never valid instead, and the
/// dispatcher has it dropped.
unsafe extern "C" fn subscribe(monitor: *mut MonitorFid, addr: *const c_void, len: usize) -> c_int {
    status_for_library(|| {
        let imported = imported(monitor);
        let mut refusal = None;
        let mut first = false;
        let mut subscriptions = imported.subscriptions.lock();
        let key = key(addr, len);
        let result = subscriptions.ranges.subscribe(key, |id| {
            first = true;
            Range::new(key.addr, key.len)
                .and_then(|range| imported.monitor.monitor(range, id))
                .inspect_err(|error| refusal = Some(*error))
                .ok()
        });
        Counts::add(&imported.counts.subscriptions);
        let stale = match result {
            // What changes from here on has an event.
            Subscribed::By(_) if first => false,
            Subscribed::By(region) => !imported.monitor.is_valid(region),
            Subscribed::Unwatched => {
                Counts::add(&imported.counts.unwatched);
                true
            }
            Subscribed::NoMemory => return Err(Errno::ENOMEM),
        };
        if stale {
            subscriptions.put_due(key);
            imported.monitor.wake();
        }
        drop(subscriptions);
        if let Some(error) = refusal {
            log::say(
                Level::Info,
                format_args!(
                    "libfabric registered {len} bytes at {addr:?}, which cannot be watched, \
                     so that registration is not kept: {error}"
                ),
            );
        }
        Ok(())
    })
}

/// A registration left one of libfabric's caches; also called by `notify`.
unsafe extern "C" fn unsubscribe(monitor: *mut MonitorFid, addr: *const c_void, len: usize) {
    shielded((), || {
        let _held_off = HeldOff::new();
        let imported = imported(monitor);
        let mut subscriptions = imported.subscriptions.lock();
        if let Some(region) = subscriptions.ranges.unsubscribe(key(addr, len)) {
            // Under the lock: the next subscription of this range must not come
            // before the end of this watch.
            let _ = imported.monitor.unmonitor(region);
        }
    });
}

/// Whether a registration that libfabric found may be used.
unsafe extern "C" fn valid(monitor: *mut MonitorFid, addr: *const c_void, len: usize) -> bool {
    shielded(false, || {
        let imported = imported(monitor);
        let region = imported.subscriptions.lock().ranges.region(key(addr, len));
        // Not under the lock: with userfaultfd this can wait for a moment.
        let valid = region.is_some_and(|region| imported.monitor.is_valid(region));
        Counts::add(if valid {
            &imported.counts.hits
        } else {
            &imported.counts.stale
        });
        valid
    })
}
