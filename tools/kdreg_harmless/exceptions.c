/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What userfaultfd itself makes different. A difference that is not here is a defect; so is one that is here and does not occur. */
#include <string.h>

#include "harmless.h"

const char *const reasons[] = {
    "",
};
const int reason_count = (int)(sizeof reasons / sizeof *reasons);

#define STATE(name) (1u << (name))

const struct exception exceptions[] = {
    {0},
};
const int exception_count = (int)(sizeof exceptions / sizeof *exceptions) - 1;

int exception_for(const struct call *call, unsigned kind, enum state state, enum aspect aspect, long value)
{
    for (int i = 0; i < exception_count; i++) {
        const struct exception *exception = &exceptions[i];
        if (exception->aspect == aspect && exception->kinds & kind && exception->states & STATE(state) && strcmp(exception->call, call->name) == 0 &&
            (aspect != RESULT || exception->result == value))
            return i;
    }
    return -1;
}
