# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: check-elf.sh [LIBRARY]
# The properties of libkdreg.so that a packager looks at.
. "$(dirname "$0")/env.sh"
set -eu

library=${1:-$dist/libkdreg.so}
dynamic=$(readelf -dW "$library")
segments=$(readelf -lW "$library")
echo "$library:"

# has WHAT TEXT PATTERN
has() {
    checking "$1"
    if echo "$2" | grep -Eq "$3"; then pass; else fail "no line matches '$3'" "$2"; fi
}

# lacks WHAT TEXT PATTERN
lacks() {
    checking "$1"
    if ! found=$(echo "$2" | grep -E "$3"); then pass; else fail "$found"; fi
}

has "its SONAME is $soname" "$dynamic" "\(SONAME\).*\[$(echo "$soname" | sed 's/\./\\./g')\]"
checking "it needs only libc, libgcc_s and the loader"
# glibc before 2.34 kept threads, dl* and timers in libraries of their own.
needed=$(echo "$dynamic" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
strangers=$(echo "$needed" | grep -Ev '^(libc|libgcc_s|libpthread|libdl|librt|libm|ld-linux[-a-z0-9_]*)\.so\.[0-9]+$' || true)
# shellcheck disable=SC2086 # on one line
if [ -z "$strangers" ]; then pass "$(echo $needed)"; else fail "$strangers"; fi
lacks "it has no search path of its own" "$dynamic" '\((RPATH|RUNPATH)\)'
lacks "it has no text relocations" "$dynamic" 'TEXTREL'
has "its stack is not executable" "$segments" 'GNU_STACK.* RW +0'
lacks "no segment is writable and executable" "$segments" ' RWE '
has "its relocations become read-only" "$segments" 'GNU_RELRO'
has "it binds at load time" "$dynamic" 'FLAGS_1.*NOW'
has "it stays loaded after dlclose" "$dynamic" 'FLAGS_1.*NODELETE'
finish
