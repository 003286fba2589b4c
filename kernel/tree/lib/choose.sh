# SPDX-License-Identifier: GPL-2.0-only
# Which kernel the tree is made for: the newest that the archive has whole.
# An index can list a kernel's image long after its headers are gone, and a
# file that is no longer on the mirror. Sourced; needs common.sh, in_tree,
# apt_get and fetch_kernel.

# The series to choose from, for which rust-ready says the module is written.
kernel_series() { echo "${KERNEL_SERIES:-$("$REPO/kernel/rust-ready" --series)}"; }

# The archive's kernel packages: "NAME VERSION" lines.
archive_kernels() {
    in_tree apt-cache pkgnames linux- |
        grep -E '^linux-((binary|modules|base|headers)-[0-9.]+\+deb[0-9]+-[a-z0-9-]+|source-[0-9.]+)$' |
        in_tree xargs -r apt-cache madison 2>/dev/null |
        awk -F'|' '{ gsub(/ /, ""); print $1, $2 }' | sort -u
}

# kernels_in FLAVOUR: of each kernel of that flavour (a pattern) in the lines of
# archive_kernels, newest first: "ABI VERSION", and what is missing of it.
kernels_in() {
    awk -v flavour="$1" '
        { have[$1, $2] = 1 }
        match($1, /^linux-(binary|modules|base|headers)-/) {
            abi = substr($1, RLENGTH + 1)
            if (abi ~ "^[0-9.]+\\+deb[0-9]+-" flavour "$" && !seen[abi, $2]++)
                version[abi] = version[abi] " " $2
        }
        END {
            for (abi in version) {
                n = split(version[abi], versions, " ")
                split(abi, part, ".")
                for (i = 1; i <= n; i++) {
                    v = versions[i]; lacks = ""
                    split("binary modules base headers", names, " ")
                    for (j = 1; j <= 4; j++)
                        if (!(("linux-" names[j] "-" abi, v) in have)) lacks = lacks " linux-" names[j]
                    if (!(("linux-source-" part[1] "." part[2], v) in have)) lacks = lacks " linux-source"
                    print abi, v lacks
                }
            }
        }' | sort -k1,1Vr -k2,2Vr
}

# series_of ABI: 7.3 of 7.3.4+deb13-amd64.
series_of() { printf '%s\n' "$1" | cut -d. -f1,2; }

# in_series ABI SERIES...
in_series() {
    local abi=$1 one; shift
    for one; do [[ $abi != "$one".* ]] || return 0; done
    return 1
}

# Fetches the kernel it settles on. KERNEL_ABI= asks for a certain one. Where
# there is none, one that is here already is kept.
choose_kernel() {
    local flavour=amd64 wanted=${KERNEL_ABI:-} series abi version lacks passed=
    series=$(kernel_series)
    [ -z "$wanted" ] || flavour='[a-z0-9-]+'
    # Without the mirror, what it had is known still.
    apt_get update >&2 || say "The archive's index is the one of the last time"
    while read -r abi version lacks; do
        if [ -n "$wanted" ]; then
            [ "$abi" = "$wanted" ] || continue
        else
            # shellcheck disable=SC2086 # one word per series
            in_series "$abi" $series || continue
        fi
        if [ -n "$lacks" ]; then
            passed+="    $abi ($version): not there: $lacks"$'\n'
        elif is_here "$abi" || fetch_kernel "$abi" "$version" </dev/null; then
            [ -z "$passed" ] || printf 'Passed over:\n%s' "$passed" >&2
            settle "$abi"
            return
        else
            passed+="    $abi ($version): the archive lists it, but it cannot be fetched"$'\n'
        fi
    done < <(archive_kernels | kernels_in "$flavour")
    if [ -z "$wanted" ] && abi=$(cat "$ABI_FILE" 2>/dev/null) && is_here "$abi" &&
        in_series "$abi" $series; then
        say "The archive has no whole kernel any more: keeping the one that is here"
        settle "$abi"
        return
    fi
    no_kernel "${wanted:-$series}" "$passed"
}

settle() {
    printf '%s\n' "$1" >"$ABI_FILE"
    say "Kernel: $1"
}

# Is the tree for this kernel made already?
is_here() {
    [ -e "$STAMPS/verify" ] && [[ "$(cat "$STAMPS/verify")" == "$1 "* ]]
}

# scripts/stages.sh knows a line that begins with NOT RUN.
no_kernel() {
    say "No kernel"
    [ -z "$2" ] || printf 'Not whole in the archive:\n%s' "$2" >&2
    cat >&2 <<EOF
NOT RUN: what needs a kernel or a guest: the archive has none of $1 whole (image, modules, base, headers and source of one version)
Another one: KERNEL_SERIES="<series> ...", or KERNEL_ABI=<name, as in linux-image-NAME>.
Another archive: KERNEL_TREE_DIR=<new directory> DEBIAN_MIRROR=<URL>.
EOF
    exit 1
}
