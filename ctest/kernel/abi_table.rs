// SPDX-License-Identifier: MIT OR Apache-2.0

//! The device interface as `uapi.rs` has it, in the words of `abi_table.c`: the
//! two must print the same.

#[path = "../../libkdreg/src/uapi.rs"]
mod uapi;

use std::mem::{offset_of, size_of};
use uapi::*;

fn size<T>(name: &str) {
    println!("size {name} {}", size_of::<T>());
}

fn offset(name: &str, field: &str, offset: usize) {
    println!("offset {name} {field} {offset}");
}

fn value(name: &str, value: u64) {
    println!("value {name} {value}");
}

fn main() {
    println!("text KDREG2_DEVICE_NAME {}", KDREG2_DEVICE_NAME);
    println!("text KDREG_DEVICE_NAME {}", KDREG_DEVICE_NAME);
    value("KDREG2_IOC_MAGIC", KDREG2_IOC_MAGIC as u64);
    value("KDREG2_BAD_COOKIE_VALUE", KDREG2_BAD_COOKIE_VALUE as u64);
    value("KDREG2_LOCATION_NONE", KDREG2_LOCATION_NONE as u64);
    size::<Kdreg2Cookie>("Kdreg2Cookie");
    size::<Kdreg2ConfigData>("Kdreg2ConfigData");
    offset("Kdreg2ConfigData", "max_regions", offset_of!(Kdreg2ConfigData, max_regions));
    offset("Kdreg2ConfigData", "status_data", offset_of!(Kdreg2ConfigData, status_data));
    size::<Kdreg2MonitoringParams>("Kdreg2MonitoringParams");
    offset("Kdreg2MonitoringParams", "location", offset_of!(Kdreg2MonitoringParams, location));
    offset("Kdreg2MonitoringParams", "generation", offset_of!(Kdreg2MonitoringParams, generation));
    size::<Kdreg2IoctlMonitor>("Kdreg2IoctlMonitor");
    offset("Kdreg2IoctlMonitor", "addr", offset_of!(Kdreg2IoctlMonitor, addr));
    offset("Kdreg2IoctlMonitor", "length", offset_of!(Kdreg2IoctlMonitor, length));
    offset("Kdreg2IoctlMonitor", "cookie", offset_of!(Kdreg2IoctlMonitor, cookie));
    offset("Kdreg2IoctlMonitor", "monitoring_params", offset_of!(Kdreg2IoctlMonitor, monitoring_params));
    size::<Kdreg2IoctlUnmonitor>("Kdreg2IoctlUnmonitor");
    offset("Kdreg2IoctlUnmonitor", "cookie", offset_of!(Kdreg2IoctlUnmonitor, cookie));
    offset("Kdreg2IoctlUnmonitor", "monitoring_params", offset_of!(Kdreg2IoctlUnmonitor, monitoring_params));
    size::<Kdreg2Counter>("Kdreg2Counter");
    size::<Kdreg2StatusData>("Kdreg2StatusData");
    offset("Kdreg2StatusData", "version", offset_of!(Kdreg2StatusData, version));
    offset("Kdreg2StatusData", "max_regions", offset_of!(Kdreg2StatusData, max_regions));
    offset("Kdreg2StatusData", "pending_events", offset_of!(Kdreg2StatusData, pending_events));
    offset("Kdreg2StatusData", "total_events", offset_of!(Kdreg2StatusData, total_events));
    offset("Kdreg2StatusData", "num_active_regions", offset_of!(Kdreg2StatusData, num_active_regions));
    offset("Kdreg2StatusData", "monitoring_state_base", offset_of!(Kdreg2StatusData, monitoring_state_base));
    println!("size state word {}", size_of::<u32>());
    value("KDREG2_STATE_IN_USE", KDREG2_STATE_IN_USE.into());
    value("KDREG2_STATE_DATA", 1 << KDREG2_STATE_DATA_SHIFT);
    size::<Kdreg2Event>("Kdreg2Event");
    offset("Kdreg2Event", "kind", offset_of!(Kdreg2Event, kind));
    offset("Kdreg2Event", "reason", offset_of!(Kdreg2Event, reason));
    offset("Kdreg2Event", "addr", offset_of!(Kdreg2Event, addr));
    offset("Kdreg2Event", "len", offset_of!(Kdreg2Event, len));
    offset("Kdreg2Event", "cookie", offset_of!(Kdreg2Event, cookie));
    value("KDREG2_EVENT_MAPPING_CHANGE", KDREG2_EVENT_MAPPING_CHANGE as u64);
    value("KDREG2_IOCTL_CONFIG_DATA", KDREG2_IOCTL_CONFIG_DATA as u64);
    value("KDREG2_IOCTL_MONITOR", KDREG2_IOCTL_MONITOR as u64);
    value("KDREG2_IOCTL_UNMONITOR", KDREG2_IOCTL_UNMONITOR as u64);
    value("KDREG2_IOCTL_UNMONITOR_ALL", KDREG2_IOCTL_UNMONITOR_ALL as u64);
    value("KDREG2_IOCTL_FLUSH", KDREG2_IOCTL_FLUSH as u64);
    value("KDREG2_IOCTL_DUMP_STATS", KDREG2_IOCTL_DUMP_STATS as u64);
    value("KDREG_FEATURES_VERSION", KDREG_FEATURES_VERSION as u64);
    value("KDREG_FEATURE_BATCH", KDREG_FEATURE_BATCH as u64);
    value("KDREG_FEATURE_CHANGE_MASK", KDREG_FEATURE_CHANGE_MASK as u64);
    value("KDREG_FEATURE_REASON", KDREG_FEATURE_REASON as u64);
    value("KDREG_FEATURE_SYNCHRONOUS", KDREG_FEATURE_SYNCHRONOUS as u64);
    value("KDREG_FEATURE_NO_OVERFLOW", KDREG_FEATURE_NO_OVERFLOW as u64);
    size::<KdregFeatures>("KdregFeatures");
    offset("KdregFeatures", "version", offset_of!(KdregFeatures, version));
    offset("KdregFeatures", "max_batch", offset_of!(KdregFeatures, max_batch));
    offset("KdregFeatures", "features", offset_of!(KdregFeatures, features));
    offset("KdregFeatures", "max_regions", offset_of!(KdregFeatures, max_regions));
    offset("KdregFeatures", "changes", offset_of!(KdregFeatures, changes));
    offset("KdregFeatures", "default_changes", offset_of!(KdregFeatures, default_changes));
    offset("KdregFeatures", "reserved", offset_of!(KdregFeatures, reserved));
    value("KDREG_CHANGE_UNMAP", KDREG_CHANGE_UNMAP as u64);
    value("KDREG_CHANGE_CLEAR", KDREG_CHANGE_CLEAR as u64);
    value("KDREG_CHANGE_PROTECTION", KDREG_CHANGE_PROTECTION as u64);
    value("KDREG_CHANGE_WRITE_PROTECT", KDREG_CHANGE_WRITE_PROTECT as u64);
    value("KDREG_CHANGE_SOFT_DIRTY", KDREG_CHANGE_SOFT_DIRTY as u64);
    value("KDREG_CHANGE_MIGRATE", KDREG_CHANGE_MIGRATE as u64);
    value("KDREG_CHANGE_EXCLUSIVE", KDREG_CHANGE_EXCLUSIVE as u64);
    value("KDREG_CHANGE_ALL", KDREG_CHANGE_ALL as u64);
    value("KDREG_CHANGE_DEFAULT", KDREG_CHANGE_DEFAULT as u64);
    value("KDREG_MONITOR_REASON", KDREG_MONITOR_REASON as u64);
    value("KDREG_MAX_BATCH", KDREG_MAX_BATCH as u64);
    size::<KdregBatch>("KdregBatch");
    offset("KdregBatch", "entries", offset_of!(KdregBatch, entries));
    offset("KdregBatch", "count", offset_of!(KdregBatch, count));
    offset("KdregBatch", "done", offset_of!(KdregBatch, done));
    size::<KdregMonitorEntry>("KdregMonitorEntry");
    offset("KdregMonitorEntry", "addr", offset_of!(KdregMonitorEntry, addr));
    offset("KdregMonitorEntry", "length", offset_of!(KdregMonitorEntry, length));
    offset("KdregMonitorEntry", "cookie", offset_of!(KdregMonitorEntry, cookie));
    offset("KdregMonitorEntry", "location", offset_of!(KdregMonitorEntry, location));
    offset("KdregMonitorEntry", "generation", offset_of!(KdregMonitorEntry, generation));
    offset("KdregMonitorEntry", "status", offset_of!(KdregMonitorEntry, status));
    offset("KdregMonitorEntry", "changes", offset_of!(KdregMonitorEntry, changes));
    offset("KdregMonitorEntry", "flags", offset_of!(KdregMonitorEntry, flags));
    size::<KdregUnmonitorEntry>("KdregUnmonitorEntry");
    offset("KdregUnmonitorEntry", "cookie", offset_of!(KdregUnmonitorEntry, cookie));
    offset("KdregUnmonitorEntry", "location", offset_of!(KdregUnmonitorEntry, location));
    offset("KdregUnmonitorEntry", "generation", offset_of!(KdregUnmonitorEntry, generation));
    offset("KdregUnmonitorEntry", "status", offset_of!(KdregUnmonitorEntry, status));
    value("KDREG_IOCTL_FEATURES", KDREG_IOCTL_FEATURES as u64);
    value("KDREG_IOCTL_MONITOR_BATCH", KDREG_IOCTL_MONITOR_BATCH as u64);
    value("KDREG_IOCTL_UNMONITOR_BATCH", KDREG_IOCTL_UNMONITOR_BATCH as u64);
}
