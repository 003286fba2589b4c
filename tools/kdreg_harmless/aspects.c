/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The aspects of what a cell saw, and the results of calls, for people. */
#include <stdio.h>
#include <string.h>

#include "harmless.h"

const char *const aspect_names[ASPECTS] = {
    [RESULT] = "result",         [CONTENTS] = "contents", [PROTECTION] = "protection",
    [MAPPINGS] = "mappings",     [HUGE_PAGES] = "kB in huge pages", [FAULTS] = "page faults",
    [LEFT] = "mappings once the library is gone",
};

const char *result_text(const struct call *call, long value, char text[32])
{
    static const char *const places[] = {[IN_PLACE] = "in place", [MOVED] = "moved", [AS_ASKED] = "as asked"};
    const char *name = value < 0 ? strerrorname_np((int)-value) : NULL;
    if (name)
        snprintf(text, 32, "%s", name);
    else if (call->flags & PLACE && value >= 0 && value <= AS_ASKED)
        snprintf(text, 32, "%s", places[value]);
    else
        snprintf(text, 32, "%ld", value);
    return text;
}
