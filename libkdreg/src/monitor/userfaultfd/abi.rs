// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel interfaces this backend stands on: userfaultfd(2),
//! ioctl_userfaultfd(2), PAGEMAP_SCAN and PROCMAP_QUERY (proc_pid_pagemap(5),
//! proc_pid_maps(5)). Numbers and layouts are those of linux/userfaultfd.h and
//! linux/fs.h.

use crate::descriptor::Descriptor;
use crate::errno::Errno;
use crate::range::Range;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

const UFFD_API: u64 = 0xaa;
/// userfaultfd(2) flag, Linux 5.11: no faults from kernel mode, and in return
/// no privilege is needed. Events are not faults and come all the same.
const UFFD_USER_MODE_ONLY: i32 = 1;

pub(super) const FEATURE_WP: u64 = 1 << 0;
pub(super) const FEATURE_EVENT_REMAP: u64 = 1 << 2;
pub(super) const FEATURE_EVENT_REMOVE: u64 = 1 << 3;
pub(super) const FEATURE_EVENT_UNMAP: u64 = 1 << 6;
/// Linux 5.19.
pub(super) const FEATURE_WP_HUGETLBFS_SHMEM: u64 = 1 << 12;
/// Linux 6.7: write-protect mode for every kind of memory.
pub(super) const FEATURE_WP_ASYNC: u64 = 1 << 15;

const fn request(direction: u32, kind: u8, number: u8, size: usize) -> libc::c_ulong {
    ((direction << 30) | ((size as u32) << 16) | ((kind as u32) << 8) | number as u32)
        as libc::c_ulong
}
const READ: u32 = 2;
const READ_WRITE: u32 = 3;

#[repr(C)]
#[derive(Default)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}
const UFFDIO_API: libc::c_ulong = request(READ_WRITE, 0xaa, 0x3f, size_of::<Api>());

#[repr(C)]
#[derive(Default)]
struct RangeArgument {
    start: u64,
    len: u64,
}

impl From<Range> for RangeArgument {
    fn from(range: Range) -> Self {
        RangeArgument {
            start: range.start() as u64,
            len: range.len() as u64,
        }
    }
}

#[repr(C)]
#[derive(Default)]
struct Register {
    range: RangeArgument,
    mode: u64,
    ioctls: u64,
}
const MODE_WP: u64 = 1 << 1;
const UFFDIO_REGISTER: libc::c_ulong = request(READ_WRITE, 0xaa, 0x00, size_of::<Register>());
const UFFDIO_UNREGISTER: libc::c_ulong = request(READ, 0xaa, 0x01, size_of::<RangeArgument>());

pub(super) const EVENT_REMAP: u8 = 0x14;
pub(super) const EVENT_REMOVE: u8 = 0x15;
pub(super) const EVENT_UNMAP: u8 = 0x16;

/// `struct uffd_msg`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Message {
    pub event: u8,
    reserved: [u8; 7],
    /// UNMAP, REMOVE: start, end. REMAP: from, to, length.
    pub argument: [u64; 3],
}
const _: () = assert!(size_of::<Message>() == 32);

/// A new userfaultfd that asked for `features`.
pub(super) fn open(features: u64) -> Result<OwnedFd, Errno> {
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: userfaultfd(2) takes no pointers.
    let mut fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags | UFFD_USER_MODE_ONLY) };
    if fd < 0 && Errno::last() == Errno::EINVAL {
        // Before 5.11 the flag is unknown.
        // SAFETY: as above.
        fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
    }
    if fd < 0 {
        return Err(Errno::last());
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    let mut api = Api {
        api: UFFD_API,
        features,
        ioctls: 0,
    };
    control(&fd, UFFDIO_API, &mut api)?;
    Ok(fd)
}

fn control<T>(fd: &impl AsRawFd, request: libc::c_ulong, argument: &mut T) -> Result<i64, Errno> {
    // SAFETY: every caller pairs a request with the structure whose size is
    // part of it; the kernel reads and writes just that.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, std::ptr::from_mut(argument)) };
    if result < 0 {
        Err(Errno::last())
    } else {
        Ok(i64::from(result))
    }
}

/// Subscribes to what happens to `range`. Registering again is harmless.
pub(super) fn register(fd: &BorrowedFd<'_>, range: Range) -> Result<(), Errno> {
    let mut argument = Register {
        range: range.into(),
        mode: MODE_WP,
        ioctls: 0,
    };
    control(fd, UFFDIO_REGISTER, &mut argument).map(drop)
}

/// Ends the subscription of `range`. That part of it may not be mapped, or may
/// never have been registered, is no error worth knowing.
pub(super) fn unregister(fd: &BorrowedFd<'_>, range: Range) {
    let mut argument = RangeArgument::from(range);
    let _ = control(fd, UFFDIO_UNREGISTER, &mut argument);
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

#[repr(C)]
#[derive(Default)]
struct PagemapScan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}
/// The page lies in a mapping that userfaultfd watches asynchronously.
const PAGE_IS_WPALLOWED: u64 = 1 << 0;
const PAGEMAP_SCAN: libc::c_ulong = request(READ_WRITE, b'f', 16, size_of::<PagemapScan>());

/// Whether *every* page of a page-aligned range is mapped and watched, by one
/// look under one hold of mmap_lock. `pagemap` is the process's own
/// /proc/self/pagemap; Linux 6.7.
///
/// Registration alone does not tell: it succeeds when any part of the range is
/// mapped, and a hole filled a moment later would not be watched.
pub(super) fn fully_watched(pagemap: &Descriptor, range: Range) -> Result<bool, Errno> {
    let mut found = [PageRegion::default(); 1];
    let mut argument = PagemapScan {
        size: size_of::<PagemapScan>() as u64,
        start: range.start() as u64,
        end: range.end() as u64,
        vec: found.as_mut_ptr() as u64,
        vec_len: found.len() as u64,
        category_mask: PAGE_IS_WPALLOWED,
        return_mask: PAGE_IS_WPALLOWED,
        ..PagemapScan::default()
    };
    // The kernel merges neighbouring pages of the same category, across
    // mappings too, so a fully watched range is one entry.
    let entries = control(pagemap, PAGEMAP_SCAN, &mut argument)?;
    Ok(
        entries == 1
            && found[0].start == range.start() as u64
            && found[0].end == range.end() as u64,
    )
}

/// `struct procmap_query`.
#[repr(C)]
#[derive(Default)]
pub(super) struct ProcmapQuery {
    size: u64,
    query_flags: u64,
    query_addr: u64,
    pub vma_start: u64,
    pub vma_end: u64,
    /// Read, write, execute, shared: a bit each.
    pub vma_flags: u64,
    vma_page_size: u64,
    pub vma_offset: u64,
    inode: u64,
    dev_major: u32,
    dev_minor: u32,
    vma_name_size: u32,
    build_id_size: u32,
    vma_name_addr: u64,
    build_id_addr: u64,
}
const _: () = assert!(size_of::<ProcmapQuery>() == 104);
const PROCMAP_QUERY: libc::c_ulong = request(READ_WRITE, b'f', 17, size_of::<ProcmapQuery>());

/// Where no mapping holds the address, the next one.
const COVERING_OR_NEXT: u64 = 0x10;

impl ProcmapQuery {
    /// Device and inode of what is mapped; zero for anonymous memory.
    pub fn file(&self) -> (u64, u64) {
        (
            u64::from(self.dev_major) << 32 | u64::from(self.dev_minor),
            self.inode,
        )
    }
}

/// The mapping at `address` or the first above it, its name written to `name`;
/// `ENOENT` when there is none. Linux 6.11.
pub(super) fn query_mapping(
    maps: &Descriptor,
    address: usize,
    name: &mut [u8],
) -> Result<ProcmapQuery, Errno> {
    let mut query = ProcmapQuery {
        size: size_of::<ProcmapQuery>() as u64,
        query_flags: COVERING_OR_NEXT,
        query_addr: address as u64,
        // The kernel wants both or neither.
        vma_name_addr: if name.is_empty() {
            0
        } else {
            name.as_mut_ptr() as u64
        },
        vma_name_size: name.len() as u32,
        ..ProcmapQuery::default()
    };
    control(maps, PROCMAP_QUERY, &mut query)?;
    Ok(query)
}
