/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Inside the process of a cell: its state, and its end where something does not hold. */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "cell.h"

struct cell cell;
const int entry_over[ENTRIES] = {0, 4};

__attribute__((noreturn)) static void fail(bool moved, const char *format, va_list args)
{
    vsnprintf(cell.verdict->why, sizeof cell.verdict->why, format, args);
    cell.verdict->moved = moved;
    cell.verdict->outcome = FAILED;
    _exit(0);
}

void failed(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fail(false, format, args);
}

void failed_unless_moved(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fail(kdreg_caps(cell.monitor) & KDREG_CAP_MIGRATE, format, args);
}
