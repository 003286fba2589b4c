# SPDX-License-Identifier: MIT OR Apache-2.0
# Writes target/modulefiles/libkdreg/VERSION, the file for environment modules of
# what `make install PREFIX=...` installs. With `module use target/modulefiles`, or
# copied to a directory of MODULEPATH, it is `module load libkdreg`.
. "$(dirname "$0")/env.sh"
set -eu

prefix=${PREFIX:-/usr/local}
case $prefix in /*) ;; *) die "PREFIX must be an absolute path, not '$prefix'" ;; esac
out=$target/modulefiles/libkdreg/$version
mkdir -p "$(dirname "$out")"
sed "s|@PREFIX@|${prefix%/}|g; s|@VERSION@|$version|g" packaging/modulefiles/libkdreg >"$out"
echo "written: $out"
