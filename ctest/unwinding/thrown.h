/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What C cannot do: throw an exception, and catch it. */
#ifndef KDREG_THROWN_H
#define KDREG_THROWN_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

__attribute__((noreturn)) void throw_it(void);

/* Whether `function` threw what throw_it() throws; a destructor between the two has run then. */
bool threw_it(void (*function)(void *), void *argument);

/* How many exceptions of the calling thread's are on their way. */
int uncaught(void);

/* Exceptions that were thrown and not destroyed. */
int alive(void);

/* What std::terminate() is to do: end the process with this status. */
void terminate_with(int status);

#ifdef __cplusplus
}
#endif

#endif
