#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: versioned.sh MAP LINKER ARGUMENT...
#
# Runs LINKER with the version script that rustc made replaced by MAP.
#
# rustc hands the linker an anonymous version script for every cdylib, and GNU
# ld does not accept a second one that names a version. rustc has no switch to
# leave its own out, so it is exchanged on the way to the linker. Older cargos
# pass a cdylib's arguments to its unit tests as well: programs have no versions.
set -eu

map=$1
shift
replaced=no
shared=no
for argument; do
    shift
    case $argument in
    --version-script=*)
        argument=--version-script=$map
        replaced=yes
        ;;
    -shared) shared=yes ;;
    esac
    set -- "$@" "$argument"
done
if [ $shared = yes ] && [ $replaced = no ]; then
    echo "$0: rustc gave the linker no --version-script to replace; libkdreg.so would export the wrong symbols" >&2
    exit 1
fi
exec "$@"
