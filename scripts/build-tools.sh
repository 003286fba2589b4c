# SPDX-License-Identifier: MIT OR Apache-2.0
# Builds the programs in C, kdreg_bw and kdreg_demo, into target/dist, with the
# library there linked in statically. kdreg_bw opens libibverbs when verbs are
# asked for: only its headers are needed, and without them it has io_uring alone.
. "$(dirname "$0")/env.sh"
set -eu

if ! echo '#include <infiniband/verbs.h>' | "$CC" -E -x c - >/dev/null 2>&1; then
    echo "note: no <infiniband/verbs.h> (Debian: libibverbs-dev): kdreg_bw is built without verbs"
fi
# ring/ is what they share.
for program in kdreg_bw kdreg_demo; do
    # shellcheck disable=SC2086 # one word per flag
    "$CC" ${CPPFLAGS:-} -std=gnu11 ${CFLAGS:--O2 -g} -Wall -Wextra -Iinclude -Itools/ring \
        -o "$dist/$program" "tools/$program"/*.c tools/ring/ring.c \
        ${LDFLAGS:-} "$dist/libkdreg.a" -lgcc_s -lpthread -ldl -lm
done
