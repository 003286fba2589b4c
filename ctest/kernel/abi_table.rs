// SPDX-License-Identifier: MIT OR Apache-2.0

//! The device interface as `uapi.rs` has it, in the words of `abi_table.c`: the
//! two must print the same.

#[path = "../../libkdreg/src/uapi.rs"]
mod uapi;

use std::mem::{offset_of, size_of};
use uapi::*;

macro_rules! size {
    ($type:ident) => {
        println!("size {} {}", stringify!($type), size_of::<$type>());
    };
}

macro_rules! offset {
    ($type:ident, $field:ident) => {
        println!(
            "offset {} {} {}",
            stringify!($type),
            stringify!($field),
            offset_of!($type, $field)
        );
    };
}

macro_rules! value {
    ($name:ident) => {
        println!("value {} {}", stringify!($name), $name);
    };
}

fn main() {
    println!("text KDREG2_DEVICE_NAME {}", KDREG2_DEVICE_NAME);
    println!("text KDREG_DEVICE_NAME {}", KDREG_DEVICE_NAME);
    value!(KDREG2_IOC_MAGIC);
    value!(KDREG2_BAD_COOKIE_VALUE);
    value!(KDREG2_LOCATION_NONE);
    size!(Kdreg2Cookie);
    size!(Kdreg2ConfigData);
    offset!(Kdreg2ConfigData, max_regions);
    offset!(Kdreg2ConfigData, status_data);
    size!(Kdreg2MonitoringParams);
    offset!(Kdreg2MonitoringParams, location);
    offset!(Kdreg2MonitoringParams, generation);
    size!(Kdreg2IoctlMonitor);
    offset!(Kdreg2IoctlMonitor, addr);
    offset!(Kdreg2IoctlMonitor, length);
    offset!(Kdreg2IoctlMonitor, cookie);
    offset!(Kdreg2IoctlMonitor, monitoring_params);
    size!(Kdreg2IoctlUnmonitor);
    offset!(Kdreg2IoctlUnmonitor, cookie);
    offset!(Kdreg2IoctlUnmonitor, monitoring_params);
    size!(Kdreg2Counter);
    size!(Kdreg2StatusData);
    offset!(Kdreg2StatusData, version);
    offset!(Kdreg2StatusData, max_regions);
    offset!(Kdreg2StatusData, pending_events);
    offset!(Kdreg2StatusData, total_events);
    offset!(Kdreg2StatusData, num_active_regions);
    offset!(Kdreg2StatusData, monitoring_state_base);
    println!("size state word {}", size_of::<u32>());
    value!(KDREG2_STATE_IN_USE);
    println!("value KDREG2_STATE_DATA {}", 1 << KDREG2_STATE_DATA_SHIFT);
    size!(Kdreg2Event);
    offset!(Kdreg2Event, kind);
    offset!(Kdreg2Event, reason);
    offset!(Kdreg2Event, addr);
    offset!(Kdreg2Event, len);
    offset!(Kdreg2Event, cookie);
    value!(KDREG2_EVENT_MAPPING_CHANGE);
    value!(KDREG2_IOCTL_CONFIG_DATA);
    value!(KDREG2_IOCTL_MONITOR);
    value!(KDREG2_IOCTL_UNMONITOR);
    value!(KDREG2_IOCTL_UNMONITOR_ALL);
    value!(KDREG2_IOCTL_FLUSH);
    value!(KDREG2_IOCTL_DUMP_STATS);
    value!(KDREG_FEATURES_VERSION);
    value!(KDREG_FEATURE_BATCH);
    value!(KDREG_FEATURE_CHANGE_MASK);
    value!(KDREG_FEATURE_REASON);
    value!(KDREG_FEATURE_SYNCHRONOUS);
    value!(KDREG_FEATURE_NO_OVERFLOW);
    value!(KDREG_FEATURE_NEEDS);
    size!(KdregFeatures);
    offset!(KdregFeatures, version);
    offset!(KdregFeatures, max_batch);
    offset!(KdregFeatures, features);
    offset!(KdregFeatures, max_regions);
    offset!(KdregFeatures, changes);
    offset!(KdregFeatures, default_changes);
    offset!(KdregFeatures, reserved);
    value!(KDREG_CHANGE_UNMAP);
    value!(KDREG_CHANGE_CLEAR);
    value!(KDREG_CHANGE_PROTECTION);
    value!(KDREG_CHANGE_WRITE_PROTECT);
    value!(KDREG_CHANGE_SOFT_DIRTY);
    value!(KDREG_CHANGE_MIGRATE);
    value!(KDREG_CHANGE_EXCLUSIVE);
    value!(KDREG_CHANGE_ALL);
    value!(KDREG_CHANGE_DEFAULT);
    value!(KDREG_MONITOR_REASON);
    value!(KDREG_MONITOR_NEEDS_READ);
    value!(KDREG_MONITOR_NEEDS_WRITE);
    value!(KDREG_MAX_BATCH);
    size!(KdregBatch);
    offset!(KdregBatch, entries);
    offset!(KdregBatch, count);
    offset!(KdregBatch, done);
    size!(KdregMonitorEntry);
    offset!(KdregMonitorEntry, addr);
    offset!(KdregMonitorEntry, length);
    offset!(KdregMonitorEntry, cookie);
    offset!(KdregMonitorEntry, location);
    offset!(KdregMonitorEntry, generation);
    offset!(KdregMonitorEntry, status);
    offset!(KdregMonitorEntry, changes);
    offset!(KdregMonitorEntry, flags);
    size!(KdregUnmonitorEntry);
    offset!(KdregUnmonitorEntry, cookie);
    offset!(KdregUnmonitorEntry, location);
    offset!(KdregUnmonitorEntry, generation);
    offset!(KdregUnmonitorEntry, status);
    value!(KDREG_IOCTL_FEATURES);
    value!(KDREG_IOCTL_MONITOR_BATCH);
    value!(KDREG_IOCTL_UNMONITOR_BATCH);
}
