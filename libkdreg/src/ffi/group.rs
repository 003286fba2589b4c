// SPDX-License-Identifier: MIT OR Apache-2.0
//! Groups of caches in C.

use super::boundary::{count_of_callbacks, status, writable};
use super::handle::{self, Object};
use super::kdreg_group_t;
use super::sized::{self, Sized_};
use crate::cache::{Group, GroupOptions};
use crate::errno::Errno;
use std::ffi::c_int;

/// kdreg_group_attr.flags: keep no more bytes registered than the process may lock
/// (RLIMIT_MEMLOCK, the soft limit, when the group is made), whatever `max_bytes` says.
pub const KDREG_GROUP_MEMLOCK: u32 = 1u32;

/// What the caches of a group have together. Zero everything but `size` for no limits:
/// then they only make room for each other when a `reg` returns -ENOMEM.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kdreg_group_attr {
    /// sizeof(struct kdreg_group_attr), set by the caller.
    pub size: usize,
    /// The most entries kept in all caches together; 0: no limit.
    pub max_entries: usize,
    /// The most bytes kept registered by all caches together; 0: no limit.
    pub max_bytes: usize,
    /// KDREG_GROUP_* flags.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: repr(C), integers, size first.
unsafe impl Sized_ for kdreg_group_attr {
    const FIRST: usize = 32;
}

// SAFETY: 7 is the group's.
unsafe impl Object for Group {
    const TYPE: u8 = 7;
    type Opaque = kdreg_group_t;
}

/// The group behind a handle; NULL: none.
pub(crate) fn group_of(group: *mut kdreg_group_t) -> Result<Option<Group>, Errno> {
    if group.is_null() {
        return Ok(None);
    }
    handle::resolve::<Group>(group).cloned().map(Some)
}

/// Makes a group: caches that are made with it in `kdreg_cache_attr.group` share its
/// limits, besides their own. `attr` NULL: no limits. What one of them registers makes
/// room in all of them: within the limits, and when its `reg` returns -ENOMEM, entries
/// that nobody holds are evicted, the least recently used of all caches first (what was
/// used since one of them last registered something counts as used at one time, between
/// caches). What does not fit even so is registered uncached.
///
/// So a call of one cache may call the `dereg` and the `event` of another, in its own
/// thread, with no lock held: what such a callback locks must not be held where any
/// cache of the group is called. From these callbacks no cache of the group can be
/// destroyed, nor be drained with a NULL `done`: -EDEADLK.
///
/// Returns 0 and the group in `*out`; -EINVAL for a bad `attr`; -EMFILE; -ENOMEM.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_group_create(
    attr: *const kdreg_group_attr,
    out: *mut *mut kdreg_group_t,
) -> c_int {
    status(|| {
        let out = writable(out)?;
        let options = if attr.is_null() {
            GroupOptions::default()
        } else {
            let attr = sized::read(attr)?;
            if attr.flags & !KDREG_GROUP_MEMLOCK != 0 || attr.reserved != 0 {
                return Err(Errno::EINVAL);
            }
            GroupOptions {
                max_entries: attr.max_entries,
                max_bytes: attr.max_bytes,
                memlock: attr.flags & KDREG_GROUP_MEMLOCK != 0,
            }
        };
        let group = handle::open(Group::new(&options)?)?;
        // SAFETY: checked above.
        unsafe { out.write(group) };
        Ok(())
    })
}

/// Ends a group. No other thread may be using it.
///
/// Returns 0; -EBUSY while there are caches in it, and nothing changes; -EINVAL for a null
/// handle; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_group_destroy(group: *mut kdreg_group_t) -> c_int {
    status(|| handle::close::<Group>(group, Group::may_be_destroyed).map(drop))
}

/// As kdreg_cache_evict(), of all caches of a group: evicts entries that nobody holds,
/// the least recently used of all first, until `bytes` bytes have been deregistered or none
/// is left.
///
/// Returns how many entries there were; -EINVAL for a null handle; -EBADF; -ECHILD.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kdreg_group_evict(group: *mut kdreg_group_t, bytes: usize) -> c_int {
    count_of_callbacks(|| handle::resolve::<Group>(group)?.evict(bytes))
}
