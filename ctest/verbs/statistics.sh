#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: statistics.sh LIBKDREG-VERBS.SO PROGRAM
# What libkdreg-verbs.so says at the end, when there is no monitor, and when it is told to be quiet.
set -u
preload=$1
program=$2
failed=0

# says WHAT PATTERN VARIABLE=VALUE...: one line on standard error matches.
says() {
    what=$1 pattern=$2
    shift 2
    # Standard error alone, and nothing of the program's own.
    if said=$(env "$@" LD_PRELOAD="$preload" "$program" uncached 2>&1 >/dev/null | grep '^kdreg-verbs: ') &&
        [ "$(echo "$said" | wc -l)" = 1 ] && echo "$said" | grep -Eq "$pattern"; then
        echo "  $what: $said"
    else
        echo "FAILED: $what: '$said' does not match '$pattern'"
        failed=1
    fi
}

says "statistics, disabled" "10 registrations asked for: 0 hits, 0 registered, 10 passed through \(10 KDREG_VERBS_DISABLE\), 0 failed.* backend none" \
    KDREG_VERBS_STATS=1 KDREG_VERBS_DISABLE=1
says "a limit that nothing fits in" "10 registrations asked for: 0 hits, 10 registered, 0 passed .* 10 uncached" \
    KDREG_VERBS_STATS=1 KDREG_VERBS_MAX_BYTES=4096
says "a program that registers nothing" "0 registrations asked for: .* 0 passed through, 0 failed.* 0 reregistered; backend none" \
    KDREG_VERBS_STATS=1 FAKE_NO_DEVICE=1
says "a limit that is none" "lots is not a number of bytes" KDREG_VERBS_DISABLE=1 KDREG_VERBS_MAX_BYTES=lots
says "a mode that is none" "KDREG_VERBS_ODP=yes is none of off, auto and on" KDREG_VERBS_ODP=yes
says "no monitor" "nothing is cached: .*kdreg_info" KDREG_BACKEND=none
said=$(env KDREG_BACKEND=none KDREG_LOG=off LD_PRELOAD="$preload" "$program" uncached 2>&1 | grep '^kdreg-verbs: ')
[ -z "$said" ] || { echo "FAILED: not quiet: $said"; failed=1; }
said=$(LD_PRELOAD="$preload" KDREG_VERBS_STATS=1 "$program" 2>&1 >/dev/null | grep '^kdreg-verbs: ')
echo "  cached: $said"
for words in "passed through \(([0-9]+ rights for peers, )[0-9]+ other flags, [0-9]+ in use by others\)" "[1-9][0-9]* reregistered"; do
    echo "$said" | grep -Eq "$words" || { echo "FAILED: not said: $words"; failed=1; }
done
hits=$(echo "$said" | sed -n 's/.* asked for: \([0-9]*\) hits.*/\1/p')
[ "${hits:-0}" -ge 100 ] || { echo "FAILED: $hits hits, expected 100 and more"; failed=1; }
exit $failed
