#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# expect.sh STATUS PATTERN COMMAND [ARGUMENT]...
# Runs the command; fails unless it exits with that status and says something
# that matches the extended regular expression. A skip (77) stays a skip, and a
# way of pinning that this machine refuses makes one.
status=$1
pattern=$2
shift 2
output=$("$@" 2>&1)
got=$?
printf '%s\n' "$output"
[ "$got" -eq 77 ] && exit 77
if [ "$got" -eq 4 ] && [ "$status" -ne 4 ] && printf '%s\n' "$output" | grep -q 'no way to pin memory works'; then
    exit 77
fi
if [ "$got" -ne "$status" ]; then
    echo "expected exit status $status, got $got"
    exit 1
fi
if ! printf '%s\n' "$output" | grep -Eq "$pattern"; then
    echo "expected output to match: $pattern"
    exit 1
fi
