# SPDX-License-Identifier: MIT OR Apache-2.0
# The recipes in packaging/ and the module file: in order, as far as the tools that
# say so are installed. Spack is had as a checkout only; what `spack style` runs
# over a recipe, isort, black and flake8, is run here with Spack's settings.
. "$(dirname "$0")/env.sh"
set -eu

work=$target/check-recipes
rm -rf "$work"
mkdir -p "$work/easybuild"
sum=$(printf %064d 0)
filled() {
    sed "s/@VERSION@/$version/g; s/@SHA256@/$sum/g; s|@PREFIX@|/opt/kdreg|g" "packaging/$1" >"$work/$2"
}
filled spack/package.py package.py
filled easybuild/libkdreg.eb "easybuild/libkdreg-$version-GCCcore-14.2.0.eb"
filled modulefiles/libkdreg modulefile

checking "nothing is left to be filled in"
if left=$(grep -rn '@[A-Z0-9]*@' "$work"); then fail "$left"; else pass; fi
if command -v python3 >/dev/null; then
    must "both recipes are Python" python3 -m py_compile "$work/package.py" "$work/easybuild"/*.eb
    rm -rf "$work/easybuild/__pycache__"
else
    echo "  python3 is not installed: recipes are not compiled"
fi
style() { # TOOL ARGUMENT...
    if command -v "$1" >/dev/null; then
        must "$1 on Spack's" "$@" "$work/package.py"
    else
        echo "  $1 is not installed: not run"
    fi
}
style isort --check --quiet --profile black --line-length 99 --known-local-folder spack --add-import 'from spack.package import *'
style black --check --quiet --line-length 99 --skip-magic-trailing-comma
# spack.package's names come by a star, as in each recipe of Spack.
style flake8 --max-line-length 99 --extend-ignore F403,F405
modulecmd=$(find /usr/lib/*/modulecmd.tcl /usr/share/modules/libexec/modulecmd.tcl 2>/dev/null | head -n 1)
if command -v eb >/dev/null && [ -n "$modulecmd" ]; then
    # It only reads, and root may do that. It wants a tool for modules, where it looks for one.
    mkdir -p "$work/home/libexec"
    ln -s "$modulecmd" "$work/home/libexec/modulecmd.tcl"
    export MODULESHOME="$work/home" EASYBUILD_MODULES_TOOL=EnvironmentModules EASYBUILD_MODULE_SYNTAX=Tcl \
        EASYBUILD_ALLOW_MODULES_TOOL_MISMATCH=1 EASYBUILD_ALLOW_USE_AS_ROOT_AND_ACCEPT_CONSEQUENCES=1 \
        EASYBUILD_PREFIX="$work/eb"
    must "eb --check-contrib on EasyBuild's" eb --check-contrib "$work/easybuild"/*.eb
    must "what it depends on is there" eb --dry-run-short --robot "$work/easybuild"/*.eb
else
    echo "  EasyBuild or environment-modules is not installed: eb is not run"
fi
if [ -n "$modulecmd" ]; then
    mkdir -p "$work/path/libkdreg"
    cp "$work/modulefile" "$work/path/libkdreg/$version"
    checking "environment modules load the module file"
    output=$(MODULEPATH="$work/path" tclsh "$modulecmd" sh load libkdreg 2>&1) || true
    case $output in *KDREG_ROOT=/opt/kdreg*) pass ;; *) fail "$output" ;; esac
fi
if command -v tclsh >/dev/null; then
    # The commands of a module file, as far as this one uses them.
    cat >"$work/stand-in.tcl" <<'T'
foreach name {conflict module-whatis} { proc $name args {} }
proc prepend-path {name value} { puts "$name=$value" }
proc setenv {name value} { puts "$name=$value" }
source [lindex $argv 0]
T
    checking "the module file names directories that make install makes"
    tclsh "$work/stand-in.tcl" "$work/modulefile" >"$work/variables" 2>&1 || fail "$(cat "$work/variables")"
    for variable in PATH=/opt/kdreg/bin MANPATH=/opt/kdreg/share/man LD_LIBRARY_PATH=/opt/kdreg/lib \
        PKG_CONFIG_PATH=/opt/kdreg/lib/pkgconfig KDREG_ROOT=/opt/kdreg; do
        grep -qx "$variable" "$work/variables" || echo "$variable"
    done >"$work/missing"
    if [ -s "$work/missing" ]; then fail "$(cat "$work/missing")"; else pass "$(wc -l <"$work/variables") variables"; fi
else
    echo "  tclsh is not installed: the module file is not run"
fi
finish
