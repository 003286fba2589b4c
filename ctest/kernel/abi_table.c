/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The device interface as include/kdreg2.h has it, one fact a line. See
 * abi_table.rs. */
#include <kdreg2.h>
#include <stdio.h>

#define SIZE(name, type) printf("size %s %zu\n", name, sizeof(type))
#define OFFSET(name, type, field, member) \
    printf("offset %s %s %zu\n", name, field, offsetof(type, member))
#define VALUE(name) printf("value " #name " %llu\n", (unsigned long long)(name))

int main(void)
{
    struct kdreg2_monitoring_state state = {.u.raw = 0};

    printf("text KDREG2_DEVICE_NAME %s\n", KDREG2_DEVICE_NAME);
    printf("text KDREG_DEVICE_NAME %s\n", KDREG_DEVICE_NAME);
    VALUE(KDREG2_IOC_MAGIC);
    VALUE(KDREG2_BAD_COOKIE_VALUE);
    VALUE(KDREG2_LOCATION_NONE);
    SIZE("Kdreg2Cookie", kdreg2_cookie_t);
    SIZE("Kdreg2ConfigData", struct kdreg2_config_data);
    OFFSET("Kdreg2ConfigData", struct kdreg2_config_data, "max_regions", max_regions);
    OFFSET("Kdreg2ConfigData", struct kdreg2_config_data, "status_data", status_data);
    SIZE("Kdreg2MonitoringParams", struct kdreg2_monitoring_params);
    OFFSET("Kdreg2MonitoringParams", struct kdreg2_monitoring_params, "location", location);
    OFFSET("Kdreg2MonitoringParams", struct kdreg2_monitoring_params, "generation", generation);
    SIZE("Kdreg2IoctlMonitor", struct kdreg2_ioctl_monitor);
    OFFSET("Kdreg2IoctlMonitor", struct kdreg2_ioctl_monitor, "addr", addr);
    OFFSET("Kdreg2IoctlMonitor", struct kdreg2_ioctl_monitor, "length", length);
    OFFSET("Kdreg2IoctlMonitor", struct kdreg2_ioctl_monitor, "cookie", cookie);
    OFFSET("Kdreg2IoctlMonitor", struct kdreg2_ioctl_monitor, "monitoring_params",
           monitoring_params);
    SIZE("Kdreg2IoctlUnmonitor", struct kdreg2_ioctl_unmonitor);
    OFFSET("Kdreg2IoctlUnmonitor", struct kdreg2_ioctl_unmonitor, "cookie", cookie);
    OFFSET("Kdreg2IoctlUnmonitor", struct kdreg2_ioctl_unmonitor, "monitoring_params",
           monitoring_params);
    SIZE("Kdreg2Counter", struct kdreg2_counter);
    SIZE("Kdreg2StatusData", struct kdreg2_status_data);
    OFFSET("Kdreg2StatusData", struct kdreg2_status_data, "version", version);
    OFFSET("Kdreg2StatusData", struct kdreg2_status_data, "max_regions", max_regions);
    OFFSET("Kdreg2StatusData", struct kdreg2_status_data, "pending_events", pending_events);
    OFFSET("Kdreg2StatusData", struct kdreg2_status_data, "total_events", total_events);
    OFFSET("Kdreg2StatusData", struct kdreg2_status_data, "num_active_regions",
           num_active_regions);
    OFFSET("Kdreg2StatusData", struct kdreg2_status_data, "monitoring_state_base",
           monitoring_state_base);
    SIZE("state word", struct kdreg2_monitoring_state);
    state.u.bits.in_use = 1;
    printf("value KDREG2_STATE_IN_USE %u\n", state.u.raw);
    state.u.raw = 0;
    state.u.bits.data = 1;
    printf("value KDREG2_STATE_DATA %u\n", state.u.raw);
    SIZE("Kdreg2Event", struct kdreg2_event);
    OFFSET("Kdreg2Event", struct kdreg2_event, "kind", type);
    OFFSET("Kdreg2Event", struct kdreg2_event, "reason", _alignment);
    OFFSET("Kdreg2Event", struct kdreg2_event, "addr", u.mapping_change.addr);
    OFFSET("Kdreg2Event", struct kdreg2_event, "len", u.mapping_change.len);
    OFFSET("Kdreg2Event", struct kdreg2_event, "cookie", u.mapping_change.cookie);
    VALUE(KDREG2_EVENT_MAPPING_CHANGE);
    VALUE(KDREG2_IOCTL_CONFIG_DATA);
    VALUE(KDREG2_IOCTL_MONITOR);
    VALUE(KDREG2_IOCTL_UNMONITOR);
    VALUE(KDREG2_IOCTL_UNMONITOR_ALL);
    VALUE(KDREG2_IOCTL_FLUSH);
    VALUE(KDREG2_IOCTL_DUMP_STATS);

    VALUE(KDREG_FEATURES_VERSION);
    VALUE(KDREG_FEATURE_BATCH);
    VALUE(KDREG_FEATURE_CHANGE_MASK);
    VALUE(KDREG_FEATURE_REASON);
    VALUE(KDREG_FEATURE_SYNCHRONOUS);
    VALUE(KDREG_FEATURE_NO_OVERFLOW);
    VALUE(KDREG_FEATURE_NEEDS);
    SIZE("KdregFeatures", struct kdreg_features);
    OFFSET("KdregFeatures", struct kdreg_features, "version", version);
    OFFSET("KdregFeatures", struct kdreg_features, "max_batch", max_batch);
    OFFSET("KdregFeatures", struct kdreg_features, "features", features);
    OFFSET("KdregFeatures", struct kdreg_features, "max_regions", max_regions);
    OFFSET("KdregFeatures", struct kdreg_features, "changes", changes);
    OFFSET("KdregFeatures", struct kdreg_features, "default_changes", default_changes);
    OFFSET("KdregFeatures", struct kdreg_features, "reserved", reserved);
    VALUE(KDREG_CHANGE_UNMAP);
    VALUE(KDREG_CHANGE_CLEAR);
    VALUE(KDREG_CHANGE_PROTECTION);
    VALUE(KDREG_CHANGE_WRITE_PROTECT);
    VALUE(KDREG_CHANGE_SOFT_DIRTY);
    VALUE(KDREG_CHANGE_MIGRATE);
    VALUE(KDREG_CHANGE_EXCLUSIVE);
    VALUE(KDREG_CHANGE_ALL);
    VALUE(KDREG_CHANGE_DEFAULT);
    VALUE(KDREG_MONITOR_REASON);
    VALUE(KDREG_MONITOR_NEEDS_READ);
    VALUE(KDREG_MONITOR_NEEDS_WRITE);
    VALUE(KDREG_MAX_BATCH);
    SIZE("KdregBatch", struct kdreg_batch);
    OFFSET("KdregBatch", struct kdreg_batch, "entries", entries);
    OFFSET("KdregBatch", struct kdreg_batch, "count", count);
    OFFSET("KdregBatch", struct kdreg_batch, "done", done);
    SIZE("KdregMonitorEntry", struct kdreg_monitor_entry);
    OFFSET("KdregMonitorEntry", struct kdreg_monitor_entry, "addr", addr);
    OFFSET("KdregMonitorEntry", struct kdreg_monitor_entry, "length", length);
    OFFSET("KdregMonitorEntry", struct kdreg_monitor_entry, "cookie", cookie);
    OFFSET("KdregMonitorEntry", struct kdreg_monitor_entry, "location", location);
    OFFSET("KdregMonitorEntry", struct kdreg_monitor_entry, "generation", generation);
    OFFSET("KdregMonitorEntry", struct kdreg_monitor_entry, "status", status);
    OFFSET("KdregMonitorEntry", struct kdreg_monitor_entry, "changes", changes);
    OFFSET("KdregMonitorEntry", struct kdreg_monitor_entry, "flags", flags);
    SIZE("KdregUnmonitorEntry", struct kdreg_unmonitor_entry);
    OFFSET("KdregUnmonitorEntry", struct kdreg_unmonitor_entry, "cookie", cookie);
    OFFSET("KdregUnmonitorEntry", struct kdreg_unmonitor_entry, "location", location);
    OFFSET("KdregUnmonitorEntry", struct kdreg_unmonitor_entry, "generation", generation);
    OFFSET("KdregUnmonitorEntry", struct kdreg_unmonitor_entry, "status", status);
    VALUE(KDREG_IOCTL_FEATURES);
    VALUE(KDREG_IOCTL_MONITOR_BATCH);
    VALUE(KDREG_IOCTL_UNMONITOR_BATCH);
    return 0;
}
