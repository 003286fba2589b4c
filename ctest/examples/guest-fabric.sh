#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: guest-fabric.sh PROGRAM
# The libfabric example over the guest's soft-RoCE device. libfabric looks the
# host's own name up, and there is no name server.
set -eu
printf '127.0.0.1 localhost\n10.99.0.1 %s\n' "$(hostname)" >/etc/hosts
exec "$1" 10.99.0.1
