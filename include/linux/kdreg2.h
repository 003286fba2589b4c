/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note OR MIT OR Apache-2.0 */
/* Where programs written for kdreg2 look for its header. */
#include "../kdreg2.h"
