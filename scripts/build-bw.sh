# SPDX-License-Identifier: MIT OR Apache-2.0
# Builds kdreg_bw into target/dist, with the library there linked in statically.
# It opens libibverbs when verbs are asked for: only its headers are needed, and
# without them it has io_uring alone.
. "$(dirname "$0")/env.sh"
set -eu

if ! echo '#include <infiniband/verbs.h>' | "$CC" -E -x c - >/dev/null 2>&1; then
    echo "note: no <infiniband/verbs.h> (Debian: libibverbs-dev): kdreg_bw is built without verbs"
fi
# shellcheck disable=SC2086 # one word per flag
"$CC" ${CPPFLAGS:-} -std=gnu11 ${CFLAGS:--O2 -g} -Wall -Wextra -Iinclude -Ictest/demo \
    -o "$dist/kdreg_bw" tools/kdreg_bw/*.c ctest/demo/ring.c \
    ${LDFLAGS:-} "$dist/libkdreg.a" -lgcc_s -lpthread -ldl -lm
