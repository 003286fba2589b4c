// SPDX-License-Identifier: MIT OR Apache-2.0
//! The monitor in C.

use super::boundary::{count, count_of_callbacks, readable, shielded, status, writable};
use super::sized;
use super::{handle, kdreg_t};
use crate::errno::Errno;
use crate::monitor::{self, Event, Kind, Monitor, Options, RegionName};
use crate::range::Range;
use std::ffi::{c_char, c_int, c_void};
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicU32;

pub use super::monitor_types::*;

/// The word of regions that kdreg_valid() cannot judge by itself: it never
/// equals a generation, so that the slow path is asked.
static NEVER: AtomicU32 = AtomicU32::new(0);

/// What the backend knows a C region by.
fn name_of(region: &kdreg_region) -> RegionName {
    RegionName {
        slot: region.slot,
        generation: region.generation,
        word: region.word as usize,
    }
}

fn kind(backend: u32) -> Result<Kind, Errno> {
    Kind::ALL
        .into_iter()
        .find(|kind| *kind as u32 == backend)
        .ok_or(Errno::EINVAL)
}

fn options(attr: *const kdreg_attr) -> Result<Options, Errno> {
    if attr.is_null() {
        return Ok(Options::default());
    }
    let attr = sized::read(attr)?;
    if attr.flags & !(KDREG_OPEN_PRIVATE | KDREG_OPEN_RELAXED) != 0 || attr.reserved != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Options {
        backend: match attr.backend {
            KDREG_BACKEND_ANY => None,
            other => Some(kind(other)?),
        },
        private: attr.flags & KDREG_OPEN_PRIVATE != 0,
        relaxed: attr.flags & KDREG_OPEN_RELAXED != 0,
        max_regions: attr.max_regions,
    })
}

/// Opens a monitor: the strongest backend that works here, unless `attr` (NULL:
/// the defaults) or the environment variable KDREG_BACKEND asks for one. All
/// handles of a process share one backend of each kind, unless opened with
/// KDREG_OPEN_PRIVATE; each has an event queue of its own.
///
/// Returns 0 and the handle in `*out`; -ENODEV when the one backend asked for
/// does not work here (kdreg_probe() says why); -EINVAL for a bad `attr` or
/// environment; -EMFILE; -ENOMEM.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_open(attr: *const kdreg_attr, out: *mut *mut kdreg_t) -> c_int {
    status(|| {
        let out = writable(out)?;
        let monitor = handle::open(Monitor::open(&options(attr)?)?)?;
        // SAFETY: checked above.
        unsafe { out.write(monitor) };
        Ok(())
    })
}

/// Closes a monitor. Its regions all become invalid; caches made on it carry on.
/// No other thread may be using the handle.
///
/// Returns 0; -EBADF when it is not open; -ECHILD in a forked child.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_close(monitor: *mut kdreg_t) -> c_int {
    status(|| handle::close::<Monitor>(monitor, |_| Ok(())).map(drop))
}

/// Begins to watch `length` bytes at `addr`, to the byte; a change to any page
/// they touch counts. `cookie` comes back in the region's event and means
/// nothing to the library. Regions may overlap; each has its own event. With
/// userfaultfd no thread may be discarding (madvise) part of the range meanwhile:
/// kdreg_backends(7).
///
/// Returns 0 and the region in `*out`; -EFAULT when part of the range is not
/// mapped; -EBUSY when another userfaultfd owns the memory; -EOPNOTSUPP when
/// this backend cannot watch it; -ENOSPC when the monitor is full, or the process
/// has nearly as many mappings as it may; -EAGAIN when they kept changing; -ENOMEM;
/// -ENXIO when the backend has stopped; -EINVAL for length 0 or a range that
/// wraps around or reaches into kernel addresses; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_monitor(
    monitor: *mut kdreg_t,
    addr: *const c_void,
    length: usize,
    cookie: u64,
    out: *mut kdreg_region,
) -> c_int {
    status(|| {
        let object = handle::resolve::<Monitor>(monitor)?;
        let out = writable(out)?;
        let range = Range::new(addr as usize, length)?;
        let region = object.monitor(range, cookie)?;
        let word = if object.needs_call() {
            &NEVER
        } else {
            region.word()
        };
        let region = kdreg_region {
            word: word.as_ptr(),
            generation: region.generation(),
            slot: region.slot(),
            owner: handle::identity::<Monitor>(monitor)?,
        };
        // SAFETY: checked above.
        unsafe { out.write(region) };
        Ok(())
    })
}

/// Ends the watch of a region of this monitor and clears `*region`, so that a
/// second call on it fails. No event follows, and copies of the region are not
/// valid any more.
///
/// Returns 0, also when the region had changed already; -EINVAL when it is not
/// a region of this monitor, or was cleared; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_unmonitor(
    monitor: *mut kdreg_t,
    region: *mut kdreg_region,
) -> c_int {
    status(|| {
        let object = handle::resolve::<Monitor>(monitor)?;
        let region = writable(region)?;
        // SAFETY: checked above; the caller's region is initialised.
        let given: kdreg_region = unsafe { region.read() };
        if given.generation == 0 || given.owner != handle::identity::<Monitor>(monitor)? {
            return Err(Errno::EINVAL);
        }
        object.unmonitor_name(name_of(&given));
        let cleared = kdreg_region {
            word: NEVER.as_ptr(),
            generation: u32::MAX,
            slot: u32::MAX,
            owner: 0,
        };
        // SAFETY: as above.
        unsafe { region.write(cleared) };
        Ok(())
    })
}

/// The part of kdreg_valid() that is more than a load and a compare: asks the
/// backend whether the region is unchanged. `false` for NULL and for a region
/// whose monitor is closed.
#[unsafe(no_mangle)]
pub extern "C" fn kdreg_valid_slow(region: *const kdreg_region) -> bool {
    shielded(false, || {
        let Ok(region) = readable(region) else {
            return false;
        };
        // SAFETY: checked above; the caller's region is initialised.
        let region: kdreg_region = unsafe { region.read() };
        handle::by_identity::<Monitor>(region.owner)
            .is_some_and(|monitor| monitor.is_valid_name(name_of(&region)))
    })
}

/// Takes up to `max` events off the queue. A region whose event was taken is
/// gone: it needs no kdreg_unmonitor(). Events only tell the reason; that a
/// region changed is known to kdreg_valid() before.
///
/// Returns how many were written to `events`; -EINVAL when `events` is NULL and
/// `max` is not 0; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_check(
    monitor: *mut kdreg_t,
    events: *mut kdreg_event,
    max: usize,
) -> c_int {
    // What may wait is in `Monitor::drain`.
    count_of_callbacks(|| {
        let monitor = handle::resolve::<Monitor>(monitor)?;
        if max == 0 {
            return Ok(0);
        }
        let events = writable(events)?;
        let max = max.min(c_int::MAX as usize);
        let mut taken = [Event::default(); 32];
        let mut total = 0;
        while total < max {
            let room = (max - total).min(taken.len());
            let count = monitor.drain(&mut taken[..room])?;
            for event in &taken[..count] {
                let range = event.range.ok_or(Errno::EIO)?;
                let event = kdreg_event {
                    cookie: event.cookie,
                    addr: range.start() as *const c_void,
                    length: range.len(),
                    reason: event.reason as u32,
                    reserved: 0,
                };
                // SAFETY: the caller says that there is room for `max` events.
                unsafe { events.add(total).write(event) };
                total += 1;
            }
            if count < room {
                break;
            }
        }
        Ok(total)
    })
}

/// A descriptor that is readable (POLLIN) while events are queued, for poll,
/// epoll and the like. It belongs to the monitor: never read or close it. It may
/// be readable when kdreg_check() finds nothing.
///
/// Returns the descriptor; -EINVAL for a null handle; -EBADF;
/// -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_fd(monitor: *mut kdreg_t) -> c_int {
    count(|| Ok(handle::resolve::<Monitor>(monitor)?.event_fd().as_raw_fd() as usize))
}

/// The name of a backend, as a C string.
fn c_name(kind: Kind) -> *const c_char {
    match kind {
        Kind::Kernel => c"kernel",
        Kind::Bpf => c"bpf",
        Kind::Userfaultfd => c"userfaultfd",
        Kind::None => c"none",
    }
    .as_ptr()
}

/// The backend in use: "kernel", "bpf", "userfaultfd" or "none". Static; NULL when
/// the handle is not open.
#[unsafe(no_mangle)]
pub extern "C" fn kdreg_backend_name(monitor: *mut kdreg_t) -> *const c_char {
    shielded(std::ptr::null(), || {
        handle::resolve::<Monitor>(monitor)
            .map_or(std::ptr::null(), |monitor| c_name(monitor.kind()))
    })
}

/// What the monitor sees and promises: KDREG_CAP_* bits; 0 when the handle is
/// not open. A change whose bit is not set may go unnoticed.
#[unsafe(no_mangle)]
pub extern "C" fn kdreg_caps(monitor: *mut kdreg_t) -> u64 {
    shielded(0, || {
        handle::resolve::<Monitor>(monitor).map_or(0, |monitor| monitor.capabilities().bits())
    })
}

/// Copies as much of `text` as fits, NUL included.
fn copy_text(text: &str, to: &mut [c_char]) {
    let room = to.len() - 1;
    // Not in the middle of a character.
    let end = (0..=text.len().min(room))
        .rev()
        .find(|&end| text.is_char_boundary(end));
    for (place, byte) in to.iter_mut().zip(text[..end.unwrap_or(0)].bytes()) {
        *place = byte as c_char;
    }
}

/// Tries a backend (KDREG_BACKEND_KERNEL, _BPF, _USERFAULTFD or _NONE) and tells in
/// `*info`, whose `size` the caller has set, whether it works here, what it
/// would see, and if it does not work, why. Leaves nothing behind.
///
/// Returns 0; -EINVAL.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_probe(backend: u32, info: *mut kdreg_backend_info) -> c_int {
    status(|| {
        let kind = kind(backend)?;
        sized::fill(info, || {
            let probe = monitor::probe(kind);
            let mut result = kdreg_backend_info {
                size: 0,
                backend,
                error: probe.error.map_or(0, Errno::negated),
                caps: probe.capabilities.bits(),
                name: [0; 32],
                reason: [0; 192],
            };
            copy_text(kind.name(), &mut result.name);
            copy_text(&probe.reason, &mut result.reason);
            Ok(result)
        })
    })
}
