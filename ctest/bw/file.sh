#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# file.sh KDREG_BW [ARGUMENT]...: transfers to a file of a directory for such, since where the tests were built may be read-only.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$@" --file "$work/bw_file.data"
