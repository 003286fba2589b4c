# SPDX-License-Identifier: MIT OR Apache-2.0
# The repository works anywhere: no file names a home directory or a directory
# at the root that only some machines have, and none names the host of a
# package registry, which is each user's own choice.
. "$(dirname "$0")/env.sh"
set -eu

git rev-parse --git-dir >/dev/null 2>&1 || skip "this is no git checkout"

# The brackets keep this file from finding itself. Cargo.lock names the
# default registry by its well-known address, as cargo writes it.
paths='(^|[^A-Za-z0-9_.$})/-])/([w]ork|[r]oot|[h]ome/[a-z]+|[U]sers)/'
hosts='[c]rates\.io|[d]eb\.debian|[p]ypi\.|[n]pmjs|[s]tatic\.rust-lang|proxy\.[g]olang|[r]egistry\.[a-z]+\.(com|org|io)'

checking "no path of somebody's machine"
if found=$(git grep -nIE "$paths" -- . ':!Cargo.lock'); then fail "$found"; else pass; fi
checking "no host of a package registry"
if found=$(git grep -nIE "$hosts" -- . ':!Cargo.lock'); then fail "$found"; else pass; fi
checking "every source file says its licence"
# Text without a place for a comment, licences themselves, and generated locks.
unlicensed=$(git grep -LI 'SPDX-License-Identifier' -- . ':!Cargo.lock' ':!LICENSE-*' \
    ':!*COPYING' ':!*.md' ':!.gitignore' ':!*/.gitignore' ':!*.proptest-regressions' ':!debian/changelog' ':!debian/source/format' ':!abi/*' || true)
if [ -z "$unlicensed" ]; then pass; else fail "$unlicensed"; fi
finish
