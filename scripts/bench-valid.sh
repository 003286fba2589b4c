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

# Up to the call of the slow part there must be one compare, and no other call.
before=$(objdump -d --no-show-raw-insn "$work/caller.o" | sed -n '/<send_if_valid>:/,/call/p')
case $(uname -m) in
x86_64)
    [ "$(echo "$before" | grep -c 'cmp')" = 1 ] && [ "$(echo "$before" | grep -c 'call')" = 1 ] ||
        die "kdreg_valid() has grown: a true answer takes more than a load and a compare"
    ;;
esac
