/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The header the way kdreg2's clients include and use it. Compiled as C99 and
 * as C++, with all warnings being errors. */
#include <linux/kdreg2.h>

int uses_everything(const struct kdreg2_status_data *status,
                    const struct kdreg2_monitoring_params *params,
                    const struct kdreg2_event *event);

int uses_everything(const struct kdreg2_status_data *status,
                    const struct kdreg2_monitoring_params *params,
                    const struct kdreg2_event *event)
{
    const char *name = KDREG2_DEVICE_NAME;
    const char *module = KDREG2_MODNAME;
    kdreg2_cookie_t bad = KDREG2_BAD_COOKIE_VALUE;
    uint64_t counted = kdreg2_read_counter(&status->pending_events) +
                       kdreg2_read_counter(&status->total_events) +
                       kdreg2_read_counter(&status->num_active_regions);

    return kdreg2_mapping_changed(status, params) || counted != 0 || name == module ||
           event->type != KDREG2_EVENT_MAPPING_CHANGE || event->u.mapping_change.addr == name ||
           event->u.mapping_change.len == 0 || event->u.mapping_change.cookie == bad ||
           status->monitoring_state_base[0].u.state.val == status->monitoring_state_base[0].u.raw;
}

int main(void)
{
    return 0;
}
