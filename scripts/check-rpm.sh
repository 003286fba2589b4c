# SPDX-License-Identifier: MIT OR Apache-2.0
# packaging/rpm/libkdreg.spec: understood by rpm, nothing for rpmlint to object
# to, and packages made by it have every file that `make install` `make
# install-module` and, where kdregd could be built, `make install-bpf` install.
. "$(dirname "$0")/env.sh"
set -eu

spec=packaging/rpm/libkdreg.spec
command -v rpmspec >/dev/null || skip "rpmspec is not installed (package rpm)"
work=$target/check-rpm
rm -rf "$work"
mkdir -p "$work/SOURCES"

must "rpmspec -P" rpmspec -P "$spec"
checking "its version is that of the workspace"
said=$(rpmspec -q --srpm --queryformat '%{version}' "$spec")
if [ "$said" = "$version" ]; then pass "$said"; else fail "it says $said, Cargo.toml $version"; fi
if command -v rpmlint >/dev/null; then
    checking "rpmlint finds no error"
    if output=$(rpmlint "$spec" 2>&1) && echo "$output" | grep -q ' 0 errors'; then
        pass
    else
        fail "$output"
    fi
else
    echo "  rpmlint is not installed: not run"
fi

command -v rpmbuild >/dev/null || finish
sh scripts/copy-sources.sh "$work/libkdreg-$version"
tar -C "$work" -czf "$work/SOURCES/libkdreg-$version.tar.gz" "libkdreg-$version"
rm -rf "$work/libkdreg-$version"
# The directories are systemd's to name; other distributions have no macros
# for them, nor packages by the names that the specification requires.
without=
if [ ! -f "$dist/kdregd" ]; then
    echo "  kdreg-bpf is left out: there is no kdregd (make kdregd says why)"
    without="--without bpf"
fi
# shellcheck disable=SC2086 # two words
must "rpmbuild" env -u MAKEFLAGS -u MAKELEVEL rpmbuild -bb --nodeps --with prebuilt $without \
    --define "_topdir $work" --define "_udevrulesdir /usr/lib/udev/rules.d" \
    --define "_modulesloaddir /usr/lib/modules-load.d" --define "_unitdir /usr/lib/systemd/system" "$spec"
[ $failures -eq 0 ] || finish

stage() {
    PREFIX=/usr BINDIR='' LIBDIR="$(rpm --eval '%{_libdir}')" INCLUDEDIR='' MANDIR='' \
        DESTDIR="$work/stage" sh scripts/install.sh "$1"
}
stage install >/dev/null
stage install-module >/dev/null
[ -n "$without" ] || stage install-bpf >/dev/null
# rpm compresses man pages, and adds licences and build ids.
(cd "$work/stage" && find . -type f -o -type l) | sed 's|^\.||' | sort >"$work/installed"
find "$work/RPMS" -name '*.rpm' -exec rpm -qpl {} + |
    sed 's|\(/man/.*\)\.gz$|\1|' | sort >"$work/packaged.all"
grep -vE '^/usr/(share/(licenses|doc)/|lib/\.build-id)' "$work/packaged.all" |
    while read -r file; do [ -d "$work/stage$file" ] || echo "$file"; done >"$work/packaged"
same "the packages have what make install installs" "$work/installed" "$work/packaged"
checking "no file is in two of them"
twice=$(uniq -d "$work/packaged")
if [ -z "$twice" ]; then pass "$(find "$work/RPMS" -name '*.rpm' | wc -l) packages"; else fail "$twice"; fi
finish
