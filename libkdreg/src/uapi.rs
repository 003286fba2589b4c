// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note OR MIT OR Apache-2.0

//! The device interface of `/dev/kdreg`, written down once.
//!
//! The kernel module and libkdreg both compile this file, and
//! `include/kdreg2.h` says the same in C (a test compares the two). It uses
//! nothing but `core` and must build with the compiler of the oldest supported
//! kernel (1.85) and with a current one.
//!
//! The first part is the kdreg2 interface, so that programs written for
//! `/dev/kdreg2` run unchanged. The second part, from ioctl 32 on, is this
//! project's own and exists where [`KDREG_IOCTL_FEATURES`] succeeds.
//!
//! Addresses and sizes are `u64`: the interface exists for 64-bit processes
//! only. Every structure has its padding spelled out, so that no kernel memory
//! can leak through it.
#![allow(dead_code)]

use core::mem::{offset_of, size_of};

// ---------------------------------------------------------------------------
// The kdreg2 interface
// ---------------------------------------------------------------------------

/// The name under which the kdreg2 interface is usually found.
pub const KDREG2_DEVICE_NAME: &str = "/dev/kdreg2";
/// The name under which this project's module always registers.
pub const KDREG_DEVICE_NAME: &str = "/dev/kdreg";
/// The letter in every ioctl number.
pub const KDREG2_IOC_MAGIC: u8 = b'k';

/// A client's name for a region. Any value but [`KDREG2_BAD_COOKIE_VALUE`].
pub type Kdreg2Cookie = u64;
/// The one cookie that is refused.
pub const KDREG2_BAD_COOKIE_VALUE: Kdreg2Cookie = u64::MAX;
/// `location` after a MONITOR that failed.
pub const KDREG2_LOCATION_NONE: u64 = u64::MAX;

/// Argument of [`KDREG2_IOCTL_CONFIG_DATA`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kdreg2ConfigData {
    /// In: how many regions the descriptor shall hold at once.
    pub max_regions: u64,
    /// Out: address of a [`Kdreg2StatusData`] in the caller's address space.
    pub status_data: u64,
}

/// Names one monitoring of one region: valid while the 32-bit word at
/// `monitoring_state_base[location]` equals `generation`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kdreg2MonitoringParams {
    /// Index into the array of state words.
    pub location: u64,
    /// The value that the word has while the region is unchanged.
    pub generation: u32,
    /// Padding; zero.
    pub reserved: u32,
}

/// Argument of [`KDREG2_IOCTL_MONITOR`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kdreg2IoctlMonitor {
    /// In: first byte of the region.
    pub addr: u64,
    /// In: its length in bytes, not 0.
    pub length: u64,
    /// In: the client's name for it.
    pub cookie: Kdreg2Cookie,
    /// Out: what to compare; `location` is [`KDREG2_LOCATION_NONE`] on failure.
    pub monitoring_params: Kdreg2MonitoringParams,
}

/// Argument of [`KDREG2_IOCTL_UNMONITOR`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kdreg2IoctlUnmonitor {
    /// The client's name for the region.
    pub cookie: Kdreg2Cookie,
    /// What MONITOR handed back for it.
    pub monitoring_params: Kdreg2MonitoringParams,
}

/// A counter in the status page.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kdreg2Counter {
    /// Its value.
    pub val: u64,
}

/// The page that CONFIG_DATA maps, read-only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kdreg2StatusData {
    /// [`KDREG2_STATUS_VERSION`].
    pub version: u64,
    /// Number of state words.
    pub max_regions: u64,
    /// Events waiting to be read.
    pub pending_events: Kdreg2Counter,
    /// Events ever queued.
    pub total_events: Kdreg2Counter,
    /// Regions monitored now.
    pub num_active_regions: Kdreg2Counter,
    /// Address of the array of 32-bit state words.
    pub monitoring_state_base: u64,
}

/// Value of [`Kdreg2StatusData::version`].
pub const KDREG2_STATUS_VERSION: u64 = 1;

/// In a state word: the slot holds a monitored region.
pub const KDREG2_STATE_IN_USE: u32 = 1;
/// In a state word: how far up the 31 data bits sit.
pub const KDREG2_STATE_DATA_SHIFT: u32 = 1;

/// [`Kdreg2Event::kind`] of the only event there is.
pub const KDREG2_EVENT_MAPPING_CHANGE: u32 = 1;

/// What read() returns, whole ones only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kdreg2Event {
    /// [`KDREG2_EVENT_MAPPING_CHANGE`].
    pub kind: u32,
    /// Zero, or for a region monitored with [`KDREG_MONITOR_REASON`] the one
    /// `KDREG_CHANGE_` bit that ended the monitoring.
    pub reason: u32,
    /// The region as it was given to MONITOR: first byte.
    pub addr: u64,
    /// Its length.
    pub len: u64,
    /// Its cookie.
    pub cookie: Kdreg2Cookie,
}

const IOC_WRITE: u32 = 1;
const IOC_READ: u32 = 2;

/// The `_IOC()` of asm-generic, which x86-64 and arm64 use.
const fn ioc(direction: u32, number: u32, size: usize) -> u32 {
    direction << 30 | (size as u32) << 16 | (KDREG2_IOC_MAGIC as u32) << 8 | number
}

/// Say how many regions to hold, and map the status page. May be repeated while
/// no region is monitored and no event waits (else EBUSY); that makes another
/// mapping, and the previous one stays: it shows the same words.
pub const KDREG2_IOCTL_CONFIG_DATA: u32 =
    ioc(IOC_READ | IOC_WRITE, 1, size_of::<Kdreg2ConfigData>());
/// Monitor a region.
pub const KDREG2_IOCTL_MONITOR: u32 = ioc(IOC_READ | IOC_WRITE, 2, size_of::<Kdreg2IoctlMonitor>());
/// Stop monitoring a region.
pub const KDREG2_IOCTL_UNMONITOR: u32 = ioc(IOC_WRITE, 3, size_of::<Kdreg2IoctlUnmonitor>());
/// Stop monitoring every region of the descriptor.
pub const KDREG2_IOCTL_UNMONITOR_ALL: u32 = ioc(0, 4, 0);
/// Discard the pending events.
pub const KDREG2_IOCTL_FLUSH: u32 = ioc(0, 5, 0);
/// Write statistics to the kernel log.
pub const KDREG2_IOCTL_DUMP_STATS: u32 = ioc(0, 6, 0);

// ---------------------------------------------------------------------------
// Extensions
// ---------------------------------------------------------------------------

/// Value of [`KdregFeatures::version`].
pub const KDREG_FEATURES_VERSION: u32 = 1;

/// Feature: [`KDREG_IOCTL_MONITOR_BATCH`] and [`KDREG_IOCTL_UNMONITOR_BATCH`].
pub const KDREG_FEATURE_BATCH: u64 = 1 << 0;
/// Feature: [`KdregMonitorEntry::changes`] selects what invalidates.
pub const KDREG_FEATURE_CHANGE_MASK: u64 = 1 << 1;
/// Feature: [`KDREG_MONITOR_REASON`].
pub const KDREG_FEATURE_REASON: u64 = 1 << 2;
/// Feature: a state word is changed before the call that changed the mapping
/// returns, whatever else goes on on the descriptor.
pub const KDREG_FEATURE_SYNCHRONOUS: u64 = 1 << 3;
/// Feature: events live in their regions, so none is ever lost.
pub const KDREG_FEATURE_NO_OVERFLOW: u64 = 1 << 4;
/// Feature: [`KDREG_MONITOR_NEEDS_READ`] and [`KDREG_MONITOR_NEEDS_WRITE`].
pub const KDREG_FEATURE_NEEDS: u64 = 1 << 5;

/// Argument of [`KDREG_IOCTL_FEATURES`]: filled in by the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KdregFeatures {
    /// [`KDREG_FEATURES_VERSION`].
    pub version: u32,
    /// Most entries in one batch.
    pub max_batch: u32,
    /// `KDREG_FEATURE_` bits.
    pub features: u64,
    /// Most regions that CONFIG_DATA grants one descriptor.
    pub max_regions: u64,
    /// `KDREG_CHANGE_` bits that can be asked for.
    pub changes: u32,
    /// `KDREG_CHANGE_` bits that invalidate a region by default.
    pub default_changes: u32,
    /// Zero.
    pub reserved: [u64; 4],
}

/// Change: unmapped, replaced or moved (munmap, mmap over it, mremap, brk).
pub const KDREG_CHANGE_UNMAP: u32 = 1 << 0;
/// Change: pages taken out of it (madvise, truncation, hole punching,
/// reclaim, migration, merging, copy on write).
pub const KDREG_CHANGE_CLEAR: u32 = 1 << 1;
/// Change: the access rights of the mapping (mprotect, userfaultfd), or of its
/// pages only, to see who uses them (NUMA balancing).
pub const KDREG_CHANGE_PROTECTION: u32 = 1 << 2;
/// Change: pages made read-only for the kernel's own reasons. What fork() does
/// to everything, and write-back to shared files; pinned pages stay valid.
pub const KDREG_CHANGE_WRITE_PROTECT: u32 = 1 << 3;
/// Change: soft-dirty tracking (`/proc/pid/clear_refs`); pages stay valid.
pub const KDREG_CHANGE_SOFT_DIRTY: u32 = 1 << 4;
/// Change: moved to or from device memory.
pub const KDREG_CHANGE_MIGRATE: u32 = 1 << 5;
/// Change: made exclusive to a device.
pub const KDREG_CHANGE_EXCLUSIVE: u32 = 1 << 6;

/// Every `KDREG_CHANGE_` bit.
pub const KDREG_CHANGE_ALL: u32 = (1 << 7) - 1;
/// What invalidates a region unless it asks otherwise.
pub const KDREG_CHANGE_DEFAULT: u32 =
    KDREG_CHANGE_UNMAP | KDREG_CHANGE_CLEAR | KDREG_CHANGE_PROTECTION | KDREG_CHANGE_MIGRATE;

/// [`KdregMonitorEntry::flags`]: put the reason into the region's event.
pub const KDREG_MONITOR_REASON: u32 = 1 << 0;
/// [`KdregMonitorEntry::flags`]: the region needs memory that can be read. With
/// this or [`KDREG_MONITOR_NEEDS_WRITE`], [`KDREG_CHANGE_PROTECTION`] is only a
/// change that takes away, or may take away, what the region needs; with
/// neither it is any, also one that takes nothing away (mprotect to what it
/// was, NUMA balancing).
pub const KDREG_MONITOR_NEEDS_READ: u32 = 1 << 1;
/// [`KdregMonitorEntry::flags`]: the region needs memory that can be read and
/// written. It need not be so from the beginning.
pub const KDREG_MONITOR_NEEDS_WRITE: u32 = 1 << 2;

/// Most entries in one batch.
pub const KDREG_MAX_BATCH: u32 = 4096;

/// Argument of [`KDREG_IOCTL_MONITOR_BATCH`] and
/// [`KDREG_IOCTL_UNMONITOR_BATCH`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KdregBatch {
    /// In: address of an array of [`KdregMonitorEntry`] or
    /// [`KdregUnmonitorEntry`].
    pub entries: u64,
    /// In: its length, 1 to [`KDREG_MAX_BATCH`].
    pub count: u32,
    /// Out: how many entries were handled; each has its own `status`. Equal to
    /// `count` when the call succeeds. When it fails, the entries from here on
    /// were left alone.
    pub done: u32,
}

/// One region of a [`KDREG_IOCTL_MONITOR_BATCH`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KdregMonitorEntry {
    /// In: first byte of the region.
    pub addr: u64,
    /// In: its length in bytes, not 0.
    pub length: u64,
    /// In: the client's name for it.
    pub cookie: Kdreg2Cookie,
    /// Out: index of its state word, or [`KDREG2_LOCATION_NONE`].
    pub location: u64,
    /// Out: the value of the word while the region is unchanged.
    pub generation: u32,
    /// Out: 0 or a negative errno.
    pub status: i32,
    /// In: `KDREG_CHANGE_` bits that invalidate it; 0 for the default.
    pub changes: u32,
    /// In: `KDREG_MONITOR_` bits.
    pub flags: u32,
}

/// One region of a [`KDREG_IOCTL_UNMONITOR_BATCH`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KdregUnmonitorEntry {
    /// In: the client's name for the region.
    pub cookie: Kdreg2Cookie,
    /// In: what MONITOR handed back for it.
    pub location: u64,
    /// In: what MONITOR handed back for it.
    pub generation: u32,
    /// Out: 0 or a negative errno.
    pub status: i32,
}

/// Ask what this device can do beyond kdreg2. Fails with ENOTTY where it can
/// do nothing more.
pub const KDREG_IOCTL_FEATURES: u32 = ioc(IOC_READ, 32, size_of::<KdregFeatures>());
/// Monitor several regions.
pub const KDREG_IOCTL_MONITOR_BATCH: u32 = ioc(IOC_READ | IOC_WRITE, 33, size_of::<KdregBatch>());
/// Stop monitoring several regions.
pub const KDREG_IOCTL_UNMONITOR_BATCH: u32 = ioc(IOC_READ | IOC_WRITE, 34, size_of::<KdregBatch>());

// The layout is fixed for ever: programs are compiled against it.
const _: () = {
    assert!(size_of::<usize>() == 8);
    assert!(size_of::<Kdreg2ConfigData>() == 16);
    assert!(size_of::<Kdreg2MonitoringParams>() == 16);
    assert!(size_of::<Kdreg2IoctlMonitor>() == 40);
    assert!(offset_of!(Kdreg2IoctlMonitor, monitoring_params) == 24);
    assert!(size_of::<Kdreg2IoctlUnmonitor>() == 24);
    assert!(size_of::<Kdreg2StatusData>() == 48);
    assert!(offset_of!(Kdreg2StatusData, monitoring_state_base) == 40);
    assert!(size_of::<Kdreg2Event>() == 32);
    assert!(size_of::<KdregFeatures>() == 64);
    assert!(size_of::<KdregBatch>() == 16);
    assert!(size_of::<KdregMonitorEntry>() == 48);
    assert!(size_of::<KdregUnmonitorEntry>() == 24);
};
