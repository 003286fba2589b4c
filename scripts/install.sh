# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: install.sh install|uninstall, with PREFIX and the other directories
# of the Makefile in the environment. The list of files is in one place: here.
. "$(dirname "$0")/env.sh"
set -eu

action=$1
PREFIX=${PREFIX:-/usr/local}
PREFIX=${PREFIX%/}
BINDIR=${BINDIR:-$PREFIX/bin}
LIBDIR=${LIBDIR:-$PREFIX/lib}
INCLUDEDIR=${INCLUDEDIR:-$PREFIX/include}
DESTDIR=${DESTDIR:-}

# As in cargo-c, a relative directory is one below PREFIX.
below_prefix() {
    case $1 in
    /*) echo "$1" ;;
    *) echo "$PREFIX/$1" ;;
    esac
}
case $PREFIX in
/* | '') ;;
*) die "PREFIX must be an absolute path (kdreg.pc carries it), not '$PREFIX'" ;;
esac
BINDIR=$(below_prefix "$BINDIR")
LIBDIR=$(below_prefix "$LIBDIR")
INCLUDEDIR=$(below_prefix "$INCLUDEDIR")

# file MODE SOURCE DIRECTORY NAME
file() {
    case $action in
    install)
        mkdir -p "$DESTDIR$3"
        install -m "$1" "$2" "$DESTDIR$3/$4"
        ;;
    uninstall) rm -f "$DESTDIR$3/$4" ;;
    esac
}

# link DIRECTORY NAME POINTS-TO
link() {
    case $action in
    install) ln -sfn "$3" "$DESTDIR$1/$2" ;;
    uninstall) rm -f "$DESTDIR$1/$2" ;;
    esac
}

# The directory as kdreg.pc has it: movable together with its prefix.
relocatable() {
    case $1 in
    "$PREFIX"/*) echo "\${prefix}${1#"$PREFIX"}" ;;
    *) echo "$1" ;;
    esac
}

pkg_config_file() {
    from_manifest() {
        sed -n "s/^$1 = \"\(.*\)\"\$/\1/p" libkdreg/Cargo.toml | head -n 1
    }
    fill() {
        printf 's|@%s@|%s|g\n' "$1" "$(printf %s "$2" | sed 's/[&|\\]/\\&/g')"
    }
    {
        fill PREFIX "$PREFIX"
        fill LIBDIR "$(relocatable "$LIBDIR")"
        fill INCLUDEDIR "$(relocatable "$INCLUDEDIR")"
        fill NAME kdreg
        fill DESCRIPTION "$(from_manifest description)"
        fill VERSION "$version"
    } | sed -f - pkgconfig/kdreg.pc.in
}

case $action in
install)
    [ -f "$dist/libkdreg.so" ] || die "there is nothing to install yet: run make first"
    pkg_config_file >"$dist/kdreg.pc"
    ;;
uninstall) ;;
*) die "say install or uninstall, not '$action'" ;;
esac

file 755 "$dist/libkdreg.so" "$LIBDIR" "libkdreg.so.$version"
link "$LIBDIR" "$soname" "libkdreg.so.$version"
link "$LIBDIR" libkdreg.so "libkdreg.so.$version"
file 644 "$dist/libkdreg.a" "$LIBDIR" libkdreg.a
file 644 "$dist/kdreg.pc" "$LIBDIR/pkgconfig" kdreg.pc
file 644 include/kdreg.h "$INCLUDEDIR" kdreg.h
# The adaptors, as <kdreg/NAME.h>.
for header in include/kdreg/*.h; do
    [ ! -f "$header" ] || file 644 "$header" "$INCLUDEDIR/kdreg" "${header##*/}"
done
file 755 "$dist/kdreg_info" "$BINDIR" kdreg_info

# A library in a directory of the dynamic loader is found once its cache is new.
if [ -z "$DESTDIR" ] && [ "$(id -u)" = 0 ] && command -v ldconfig >/dev/null &&
    ldconfig -N -X -v 2>/dev/null | grep -q "^$LIBDIR:"; then
    ldconfig
fi
case $action in
install) echo "installed libkdreg $version under $DESTDIR$PREFIX" ;;
uninstall) echo "removed libkdreg $version from $DESTDIR$PREFIX" ;;
esac
