// SPDX-License-Identifier: MIT OR Apache-2.0
//! What to do when the kernel refuses something: one line of log per cause.

use super::Place;
use crate::errno::Errno;
use crate::log::{self, Level};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// What was tried.
#[derive(Clone, Copy)]
pub(super) enum Doing {
    /// Making the buffer table of this many slots.
    MakeTable(u32),
    /// Taking over slots of the caller's table: the first, and how many.
    TakeWindow(u32, u32),
    /// Registering this many bytes.
    Register(usize),
    /// Emptying a slot.
    Deregister,
}

impl Doing {
    /// Taking possession of the slots.
    pub fn of(place: Place) -> Doing {
        match place {
            Place::Table(count) => Doing::MakeTable(count),
            Place::Window { first, count } => Doing::TakeWindow(first, count),
        }
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doing::MakeTable(slots) => write!(f, "registering a table of {slots} buffers"),
            Doing::TakeWindow(first, count) => {
                write!(f, "taking buffers {first} to {}", first + count - 1)
            }
            Doing::Register(length) => write!(f, "registering a buffer of {length} bytes"),
            Doing::Deregister => f.write_str("emptying a buffer slot"),
        }
    }
}

/// The limit on locked memory, for people.
struct Memlock;

impl fmt::Display for Memlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: writes into a local structure.
        if unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } != 0 {
            return f.write_str("unknown");
        }
        match limit.rlim_cur {
            libc::RLIM_INFINITY => f.write_str("unlimited"),
            bytes => write!(f, "{} KiB", bytes / 1024),
        }
    }
}

/// What the user can do about it. Written where it is said: there may be no
/// memory to make a text in.
struct Remedy(Doing, Errno);

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Remedy(doing, error) = *self;
        f.write_str(match (error.value(), doing) {
            (libc::EBADF, _) => {
                "the ring's descriptor is not open: pass the one that io_uring_setup() returned, \
                 and make the cache before closing it"
            }
            (libc::EOPNOTSUPP, Doing::MakeTable(_) | Doing::TakeWindow(..)) => {
                "the descriptor is not an io_uring: pass liburing's ring_fd; enter_ring_fd, after \
                 io_uring_register_ring_fd(), is an index that only io_uring_enter() understands"
            }
            (libc::EBUSY, Doing::MakeTable(_)) => {
                "the ring has a buffer table already: unregister it, or leave slots of it to this \
                 cache (KDREG_URING_WINDOW)"
            }
            (libc::EINVAL, Doing::MakeTable(_)) => {
                "this kernel has no table whose buffers can be replaced: Linux 5.13 or newer is \
                 needed"
            }
            (libc::EINVAL | libc::ENXIO, Doing::TakeWindow(..)) => {
                "the ring's buffer table has no such slots: register a larger one first"
            }
            (libc::EEXIST, _) => {
                "the ring was made with IORING_SETUP_SINGLE_ISSUER: only the thread that submits to \
                 it may do this"
            }
            (libc::EPERM | libc::EACCES | libc::ENOSYS, _) => {
                "a seccomp filter, a security module or the ring's own restrictions refuse \
                 io_uring_register(): allow it, or do without registered buffers"
            }
            (libc::ENOMEM, _) => return write!(f,
                "too much memory is pinned, and nothing idle is left to release: RLIMIT_MEMLOCK is \
                 {} for the user; raise it (ulimit -l), hold fewer buffers, or use smaller ones",
                Memlock
            ),
            (libc::ENOBUFS, _) => {
                "every slot is held: put buffers back as their transfers complete, or make the cache \
                 with more slots"
            }
            (libc::EMSGSIZE, _) => "a registered buffer has at most 1 GiB: transfer it in parts",
            (libc::EOPNOTSUPP | libc::EFAULT, Doing::Register(_)) => {
                "io_uring pins writable memory only, anonymous or from memfd, shm or hugetlbfs: not \
                 read-only mappings, mappings of files on disk or of devices, or addresses where \
                 nothing is mapped; transfer without a registered buffer"
            }
            _ => "see io_uring_register(2)",
        })
    }
}

/// Says what to do about an error, once per cause.
#[derive(Default)]
pub(super) struct Advice {
    /// A bit per errno below 128 that was said. Relaxed: saying it twice
    /// does no harm.
    said: [AtomicU32; 4],
}

impl Advice {
    /// Logs the error and what to do; returns it.
    #[cold]
    pub fn give(&self, doing: Doing, error: Errno) -> Errno {
        let value = error.value().clamp(0, 127) as usize;
        let bit = 1 << (value % 32);
        let before = self.said[value / 32].fetch_or(bit, Ordering::Relaxed);
        let level = if before & bit == 0 {
            Level::Warn
        } else {
            Level::Debug
        };
        if log::enabled(level) {
            log::say(
                level,
                format_args!("io_uring: {doing}: {error:?}: {}", Remedy(doing, error)),
            );
        }
        error
    }
}
