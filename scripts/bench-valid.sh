# SPDX-License-Identifier: MIT OR Apache-2.0
# Shows what the C compiler makes of a caller of kdreg_valid(), and that a true
# answer costs one load of the word and one compare.
. "$(dirname "$0")/env.sh"
set -eu

work=$target/bench
mkdir -p "$work"
cat >"$work/caller.c" <<'C'
#include <kdreg.h>

void post(void *);

void send_if_valid(const struct kdreg_region *region, void *request)
{
    if (kdreg_valid(region))
        post(request);
}
C
$CC -O2 -I "$root/include" -fno-asynchronous-unwind-tables -fcf-protection=none -c -o "$work/caller.o" "$work/caller.c"
objdump -dr --no-show-raw-insn "$work/caller.o" | sed -n '/<send_if_valid>:/,$p'
