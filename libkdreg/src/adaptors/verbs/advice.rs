// SPDX-License-Identifier: MIT OR Apache-2.0
//! What to say, and what to do, when registering fails.

use super::access;
use crate::errno::Errno;
use crate::log::{self, Level};
use crate::range::Range;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Which errors were explained already, one bit each: a program that goes on
/// asking hears of each once, unless it wants to hear everything.
static SAID: AtomicU64 = AtomicU64::new(0);

/// Whether this process may lock as much as it likes: root outside of a container.
fn locks_at_will() -> bool {
    const VERSION_3: u32 = 0x2008_0522;
    const IPC_LOCK: u32 = 1 << 14;
    let mut asked = [VERSION_3, 0];
    // Effective, permitted, inheritable: of capabilities 0 to 31, and of the rest.
    let mut sets = [[0_u32; 3]; 2];
    // SAFETY: reads a `struct __user_cap_header_struct`, and writes the two `struct
    // __user_cap_data_struct` that version 3 has.
    let result = unsafe { libc::syscall(libc::SYS_capget, asked.as_mut_ptr(), sets.as_mut_ptr()) };
    result == 0 && sets[0][0] & IPC_LOCK != 0
}

/// The limit on locked memory, in bytes; `None` when there is none.
fn memlock() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: room for the result.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    let bound = result == 0 && limit.rlim_cur != libc::RLIM_INFINITY && !locks_at_will();
    bound.then_some(limit.rlim_cur)
}

/// What can be done about an error, with the rights (`IBV_ACCESS_*`) that were
/// asked for. Written where it is said: there may be no memory to make a text in.
struct Remedy(Errno, u32);

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Remedy(error, flags) = *self;
        f.write_str(match error {
            Errno::ENOMEM => match memlock() {
                Some(limit) => return write!(f,
                    "RLIMIT_MEMLOCK lets this process pin {} KiB: raise it (ulimit -l unlimited, \
                     `memlock` in /etc/security/limits.conf, LimitMEMLOCK= of systemd), or put \
                     entries back sooner; everything idle has been released already",
                    limit / 1024
                ),
                None => "everything idle has been released already: put entries back sooner, or \
                         look at the device's limit (max_mr of ibv_devinfo -v)"
                    ,
            },
            Errno::EFAULT if flags & access::LOCAL_WRITE != 0 => {
                "part of it is not mapped, or is mapped read-only: map it writable, or ask \
                 without IBV_ACCESS_LOCAL_WRITE and the remote rights to write"
            }
            Errno::EFAULT => "part of it is not mapped, or not readable",
            Errno::EINVAL if flags & (access::REMOTE_WRITE | access::REMOTE_ATOMIC) != 0 => {
                "the device or its driver refused these rights: see what it can do with \
                 ibv_devinfo -v"
            }
            Errno::EINVAL => {
                "rights are LOCAL_WRITE, REMOTE_*, MW_BIND and FLUSH_*; zero-based and on-demand \
                 registrations cannot be cached (call ibv_reg_mr for those), and \
                 IBV_ACCESS_RELAXED_ORDERING is said when the cache is made"
            }
            Errno::EOPNOTSUPP => {
                "the device cannot register this kind of memory (a file that is not in memory, \
                 a device's own memory)"
            }
            Errno::EPERM if memlock() == Some(0) => {
                "RLIMIT_MEMLOCK is 0, so that this process may pin nothing: raise it (ulimit -l \
                 unlimited, `memlock` in /etc/security/limits.conf, LimitMEMLOCK= of systemd), or \
                 have it on demand (KDREG_VERBS_ODP=auto) where the device can"
            }
            Errno::EPERM | Errno::EACCES => {
                "this process may not: see the rights of /dev/infiniband/uverbs*, and the \
                 limits of its control group"
            }
            Errno::EIO | Errno::ENODEV => {
                "the device is gone or does not answer: see dmesg, and open it anew"
            }
            _ => "the driver gave this error: see dmesg",
        })
    }
}

/// Explains why there is no registration for `range` with the rights in
/// `flags` (`IBV_ACCESS_*`).
pub(super) fn explain(error: Errno, range: Range, flags: u32) {
    if matches!(error, Errno::ECHILD | Errno::ENOENT | Errno::ESCAPED) {
        // Not the device's doing: a forked child, a lookup that found nothing, a
        // thread that is ending.
        return;
    }
    let bit = 1 << (error.value() & 63);
    // Relaxed: this is about how often something is said, nothing else.
    let first = SAID.fetch_or(bit, Ordering::Relaxed) & bit == 0;
    let level = if first { Level::Error } else { Level::Debug };
    if log::enabled(level) {
        log::say(
            level,
            format_args!(
                "verbs: registering {} bytes at {:#x} with access {flags:#x} failed ({error:?}): {}",
                range.len(),
                range.start(),
                Remedy(error, flags)
            ),
        );
    }
}
