# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: install.sh install|uninstall|install-module|uninstall-module|
# install-bpf|uninstall-bpf, with PREFIX and the other directories of the
# Makefile in the environment. The list of files is in one place: here. The
# module's are its sources, for DKMS; those of bpf, kdregd and its units.
. "$(dirname "$0")/env.sh"
set -eu

# What is installed besides the library itself, where it has been built into
# target/dist: programs, and shared objects for LD_PRELOAD. Headers, man pages
# and CMake's files are found by listing their directories.
programs="kdreg_info kdreg_bw kdreg_demo"
preloads="libkdreg-verbs.so libkdreg-fabric.so"

action=$1
PREFIX=${PREFIX:-/usr/local}
PREFIX=${PREFIX%/}
BINDIR=${BINDIR:-$PREFIX/bin}
LIBDIR=${LIBDIR:-$PREFIX/lib}
INCLUDEDIR=${INCLUDEDIR:-$PREFIX/include}
MANDIR=${MANDIR:-$PREFIX/share/man}
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
MANDIR=$(below_prefix "$MANDIR")

# file MODE SOURCE DIRECTORY NAME
file() {
    case $action in
    uninstall*) rm -f "$DESTDIR$3/$4" ;;
    *)
        mkdir -p "$DESTDIR$3"
        install -p -m "$1" "$2" "$DESTDIR$3/$4"
        ;;
    esac
}

# built MODE NAME DIRECTORY: a file of target/dist, if it was built.
built() {
    if [ "$action" = uninstall ] || [ -f "$dist/$2" ]; then file "$1" "$dist/$2" "$3" "$2"; fi
}

# each DIRECTORY FILE...: plain files under their own names; a pattern that
# matches nothing stands for no file.
each() {
    into=$1
    shift
    for one; do
        if [ -f "$one" ]; then file 644 "$one" "$into" "${one##*/}"; fi
    done
}

# Directories that are the library's alone go with their last file.
empty() {
    case $action in uninstall*) rmdir "$DESTDIR$1" 2>/dev/null || true ;; esac
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

# The directories of the system, wherever PREFIX is: dkms, udev and systemd look
# nowhere else. Links are followed, as uapi.rs is one.
module_files() {
    sources=/usr/src/kdreg-$version
    each "$sources" kernel/*.rs kernel/Kbuild kernel/dkms.conf
    each "$sources/regions" kernel/regions/*.rs
    file 755 kernel/rust-ready "$sources" rust-ready
    empty "$sources/regions"
    empty "$sources"
    file 644 kernel/60-kdreg.rules /usr/lib/udev/rules.d 60-kdreg.rules
    file 644 kernel/modules-load.conf /usr/lib/modules-load.d kdreg.conf
}

# systemd, too, looks in the system's own directory; the daemon is below PREFIX.
bpf_files() {
    units=/usr/lib/systemd/system
    file 755 "$dist/kdregd" "$PREFIX/sbin" kdregd
    for unit in kdregd.service kdregd.socket; do
        sed "s|/usr/sbin/kdregd|$PREFIX/sbin/kdregd|" "packaging/systemd/$unit" >"$target/$unit"
        file 644 "$target/$unit" "$units" "$unit"
        rm -f "$target/$unit"
    done
}

case $action in
install)
    [ -f "$dist/libkdreg.so" ] || die "there is nothing to install yet: run make first"
    pkg_config_file >"$dist/kdreg.pc"
    ;;
*install-module)
    module_files
    echo "${action%-module}ed the module's sources: $DESTDIR$sources"
    exit 0
    ;;
*install-bpf)
    [ "$action" = uninstall-bpf ] || [ -f "$dist/kdregd" ] || die "there is no kdregd to install: run make kdregd first"
    mkdir -p "$target"
    bpf_files
    echo "${action%-bpf}ed kdregd: $DESTDIR$PREFIX/sbin/kdregd, and its units in $DESTDIR$units"
    exit 0
    ;;
uninstall) ;;
*) die "say install, uninstall, or one of these with -module or -bpf, not '$action'" ;;
esac

file 755 "$dist/libkdreg.so" "$LIBDIR" "libkdreg.so.$version"
link "$LIBDIR" "$soname" "libkdreg.so.$version"
link "$LIBDIR" libkdreg.so "libkdreg.so.$version"
file 644 "$dist/libkdreg.a" "$LIBDIR" libkdreg.a
for name in $preloads; do built 755 "$name" "$LIBDIR"; done
for name in $programs; do built 755 "$name" "$BINDIR"; done
file 644 "$dist/kdreg.pc" "$LIBDIR/pkgconfig" kdreg.pc
each "$LIBDIR/cmake/kdreg" cmake/*.cmake
empty "$LIBDIR/cmake/kdreg"
each "$INCLUDEDIR" include/kdreg.h
# The device's header where `--with-kdreg2=` can point at it, beside the adaptors'.
each "$INCLUDEDIR/kdreg" include/kdreg/*.h include/kdreg2.h
empty "$INCLUDEDIR/kdreg"
for section in 1 3 4 7 8; do each "$MANDIR/man$section" man/*."$section"; done

# A library in a directory of the dynamic loader is found once its cache is new.
if [ -z "$DESTDIR" ] && [ "$(id -u)" = 0 ] && command -v ldconfig >/dev/null &&
    ldconfig -N -X -v 2>/dev/null | grep -q "^$LIBDIR:"; then
    ldconfig
fi
case $action in
install) echo "installed libkdreg $version under $DESTDIR$PREFIX" ;;
uninstall) echo "removed libkdreg $version from $DESTDIR$PREFIX" ;;
esac
