# SPDX-License-Identifier: MIT OR Apache-2.0
# Installs into target/prefix, and runs kdreg_demo there.
# Arguments for it: DEMO_ARGS="..." make run
. "$(dirname "$0")/env.sh"
set -eu

echo "building libkdreg (release; the first time takes a minute) ..."
make --no-print-directory prefix
# shellcheck disable=SC2086 # one word per argument
exec "$target/prefix/bin/kdreg_demo" ${DEMO_ARGS:-}
