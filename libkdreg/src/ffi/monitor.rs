// SPDX-License-Identifier: MIT OR Apache-2.0
//! The monitor in C.

use super::boundary::{count, count_of_callbacks, readable, shielded, status, writable};
use super::sized::{self, Sized_};
use super::{handle, kdreg_t};
use crate::errno::Errno;
use crate::monitor::{self, Capabilities, Event, Kind, Monitor, Options, RegionName};
use crate::range::Range;
use std::ffi::{c_char, c_int, c_void};
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicU32;

/// The strongest backend that works here.
pub const KDREG_BACKEND_ANY: u32 = 0;
/// The kernel module, /dev/kdreg, or a kdreg2-compatible device.
pub const KDREG_BACKEND_KERNEL: u32 = 1;
/// userfaultfd: in any process, without privileges.
pub const KDREG_BACKEND_USERFAULTFD: u32 = 2;
/// Watches nothing: correct and uncached.
pub const KDREG_BACKEND_NONE: u32 = 3;
/// kdregd's BPF programs: kdreg_backends(7).
pub const KDREG_BACKEND_BPF: u32 = 4;

// The suffixes are for the header: a C constant as wide as the member it is for.

/// Sees munmap, a MAP_FIXED mapping on top, brk shrink, the target of mremap(MREMAP_FIXED), what an mremap cuts off.
pub const KDREG_CAP_UNMAP: u64 = 1u64 << 0;
/// Sees mremap: the old range.
pub const KDREG_CAP_REMAP: u64 = 1u64 << 1;
/// Sees madvise and process_madvise: DONTNEED, DONTNEED_LOCKED, FREE, REMOVE.
/// With userfaultfd, not of pages that another thread asks for while they are
/// being discarded: kdreg_backends(7).
pub const KDREG_CAP_DISCARD: u64 = 1u64 << 2;
/// Sees madvise(MADV_GUARD_INSTALL).
pub const KDREG_CAP_GUARD: u64 = 1u64 << 3;
/// Sees mprotect and pkey_mprotect.
pub const KDREG_CAP_PROTECT: u64 = 1u64 << 4;
/// Sees ftruncate and fallocate hole punching through a file descriptor.
pub const KDREG_CAP_FILE: u64 = 1u64 << 5;
/// Sees shmdt and shmat(SHM_REMAP).
pub const KDREG_CAP_SYSV: u64 = 1u64 << 6;
/// Sees UFFDIO_MOVE and remap_file_pages.
pub const KDREG_CAP_PAGES: u64 = 1u64 << 7;
/// Sees what the kernel does by itself: migration, reclaim, KSM, huge page collapse.
pub const KDREG_CAP_MIGRATE: u64 = 1u64 << 8;
/// Sees the same changes when another process makes them.
pub const KDREG_CAP_FOREIGN: u64 = 1u64 << 9;
/// Changes are marked by the kernel before the call returns; no thread in between.
pub const KDREG_CAP_SYNC: u64 = 1u64 << 16;
/// No window in which another thread can be handed an address before its change is known.
pub const KDREG_CAP_STRICT: u64 = 1u64 << 17;
/// Watches any kind of memory, file-backed included.
pub const KDREG_CAP_ALL_MEMORY: u64 = 1u64 << 18;
/// A fork() invalidates nothing in the parent.
pub const KDREG_CAP_FORK_WARM: u64 = 1u64 << 19;

/// Why a region changed: the backend cannot tell.
pub const KDREG_REASON_UNKNOWN: u32 = 0;
/// Why a region changed: unmapped, or another mapping took its place.
pub const KDREG_REASON_UNMAP: u32 = 1;
/// Why a region changed: its pages were given up by madvise.
pub const KDREG_REASON_DISCARD: u32 = 2;
/// Why a region changed: moved by mremap.
pub const KDREG_REASON_REMAP: u32 = 3;
/// Why a region changed: access rights.
pub const KDREG_REASON_PROTECT: u32 = 4;
/// Why a region changed: the kernel moved or reclaimed pages.
pub const KDREG_REASON_MIGRATE: u32 = 5;
/// Why a region changed: the address space is going away.
pub const KDREG_REASON_RELEASE: u32 = 6;
/// Why a region changed: the backend stopped working, so nothing is valid.
pub const KDREG_REASON_LOST: u32 = 7;

/// kdreg_attr.flags: a backend of its own instead of the one the process shares.
pub const KDREG_OPEN_PRIVATE: u32 = 1u32;
/// kdreg_attr.flags: userfaultfd only: do not ask, at each check, whether a
/// change is in flight. Saves a system call per check, and leaves a window in
/// which another thread that is handed an address just unmapped still finds
/// the old region valid.
pub const KDREG_OPEN_RELAXED: u32 = 2u32;

// The C constants and the Rust ones are one and the same.
const _: () = assert!(
    KDREG_CAP_UNMAP == Capabilities::UNMAP.bits()
        && KDREG_CAP_REMAP == Capabilities::REMAP.bits()
        && KDREG_CAP_DISCARD == Capabilities::DISCARD.bits()
        && KDREG_CAP_GUARD == Capabilities::GUARD.bits()
        && KDREG_CAP_PROTECT == Capabilities::PROTECT.bits()
        && KDREG_CAP_FILE == Capabilities::FILE.bits()
        && KDREG_CAP_SYSV == Capabilities::SYSV.bits()
        && KDREG_CAP_PAGES == Capabilities::PAGES.bits()
        && KDREG_CAP_MIGRATE == Capabilities::MIGRATE.bits()
        && KDREG_CAP_FOREIGN == Capabilities::FOREIGN.bits()
        && KDREG_CAP_SYNC == Capabilities::SYNC.bits()
        && KDREG_CAP_STRICT == Capabilities::STRICT.bits()
        && KDREG_CAP_ALL_MEMORY == Capabilities::ALL_MEMORY.bits()
        && KDREG_CAP_FORK_WARM == Capabilities::FORK_WARM.bits()
        && KDREG_BACKEND_KERNEL == Kind::Kernel as u32
        && KDREG_BACKEND_USERFAULTFD == Kind::Userfaultfd as u32
        && KDREG_BACKEND_NONE == Kind::None as u32
        && KDREG_BACKEND_BPF == Kind::Bpf as u32
        && KDREG_REASON_LOST == monitor::Reason::Lost as u32
        && KDREG_REASON_UNMAP == monitor::Reason::Unmap as u32
);

/// How to open a monitor. Zero everything but `size` for the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kdreg_attr {
    /// sizeof(struct kdreg_attr), set by the caller.
    pub size: usize,
    /// KDREG_OPEN_* flags.
    pub flags: u32,
    /// KDREG_BACKEND_*. The environment variable KDREG_BACKEND (auto, kernel, bpf,
    /// userfaultfd, none), where set, overrides it.
    pub backend: u32,
    /// The most regions held, with KDREG_OPEN_PRIVATE; 0: 1,048,576.
    pub max_regions: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: repr(C), integers, size first.
unsafe impl Sized_ for kdreg_attr {
    const FIRST: usize = 24;
}

/// A change to one region.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kdreg_event {
    /// What the caller gave to kdreg_monitor().
    pub cookie: u64,
    /// The region as it was registered.
    pub addr: *const c_void,
    /// Its length in bytes.
    pub length: usize,
    /// KDREG_REASON_*.
    pub reason: u32,
    /// 0.
    pub reserved: u32,
}

/// A monitored range. Filled by kdreg_monitor(); may be copied. Its members are
/// for kdreg_valid() and the library alone.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kdreg_region {
    /// The word that kdreg_valid() loads. Readable for ever, in a forked child too.
    pub word: *const u32,
    /// The value it has while the range is unchanged.
    pub generation: u32,
    /// The region's slot in its monitor.
    pub slot: u32,
    /// The monitor it belongs to.
    pub owner: u64,
}

/// What a backend could do here.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kdreg_backend_info {
    /// sizeof(struct kdreg_backend_info), set by the caller.
    pub size: usize,
    /// KDREG_BACKEND_*.
    pub backend: u32,
    /// 0 when it works here, else a negative errno.
    pub error: i32,
    /// KDREG_CAP_*: what it sees here.
    pub caps: u64,
    /// Its name.
    pub name: [c_char; 32],
    /// Why it does not work here, or what to expect of it.
    pub reason: [c_char; 192],
}

// SAFETY: repr(C), integers, size first.
unsafe impl Sized_ for kdreg_backend_info {
    const FIRST: usize = 248;
}

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
