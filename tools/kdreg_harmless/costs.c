/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "harmless.h"
void costs_print(void) {}
