// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a monitor is asked for and what it says, as C programs have it.

use super::sized::Sized_;
use crate::monitor::{self, Capabilities, Kind};
use std::ffi::{c_char, c_void};

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
