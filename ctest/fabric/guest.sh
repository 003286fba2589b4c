# SPDX-License-Identifier: MIT OR Apache-2.0
# Read by the tests in tests/ with `.`, in the guest.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
address=10.99.0.1
export PATH="$top/bin:$PATH" LD_LIBRARY_PATH="$top/lib"
# What the documents call it.
LIBFABRIC_WITH_KDREG2=$(cd "$top/../libfabric/prefix/lib" && pwd)
export LIBFABRIC_WITH_KDREG2
# libfabric looks the host's own name up; there is no name server here.
printf '127.0.0.1 localhost\n%s %s\n' "$address" "$(hostname)" >/etc/hosts
cd /tmp

die() {
    echo "$*"
    exit 1
}
# said FILE WORDS: the words must be in the file.
said() {
    grep -q -- "$2" "$1" || die "FAILED: \"$2\" was not said"
}
