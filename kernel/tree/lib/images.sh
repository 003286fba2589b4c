# SPDX-License-Identifier: GPL-2.0-only
# Stock kernels of other series, as packages: found, fetched and unpacked.
# Sourced, after common.sh and apt.sh.

# One directory for each, as in ROOT: usr/lib/modules/<abi> with vmlinuz.
KERNELS=$STATE/kernels

# The suites whose kernels can be had besides those that this machine's own
# configuration names (security updates are among those).
IMAGE_SUITES="bookworm trixie trixie-backports"

# apt with a state of its own, for suites of the archive that serves Debian here.
archive_apt() {
    local program=$1 apt=$KERNELS/apt; shift
    "$program" -q -o Dir::State="$apt" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt" \
        -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Acquire::Languages=none -o APT::Sandbox::User=root "$@"
}
machine_apt() { local program=$1; shift; "$program" -q -o APT::Sandbox::User=root "$@"; }

update_indexes() {
    local apt=$KERNELS/apt mirror ring suite
    mirror=$(debian_mirror)
    ring=$(debian_keyring)
    mkdir -p "$apt"/lists/partial "$apt"/archives/partial
    : >"$apt/status"
    for suite in $IMAGE_SUITES; do
        printf 'deb [arch=amd64 signed-by=%s] %s %s main\n' "$ring" "$mirror" "$suite"
    done >"$apt/sources.list"
    # What an index had the last time is known still, and a suite can be gone.
    archive_apt apt-get update >&2 || say "Not all of $IMAGE_SUITES could be looked at"
    machine_apt apt-get update >&2 || say "This machine's own indexes are those of the last time"
}

# "APT ABI VERSION" lines of the images that an apt knows, without flavours.
images_of() {
    local apt=$1
    "$apt" apt-cache pkgnames linux-image- |
        grep -E '^linux-image-[0-9][0-9.]*(-[0-9]+|\+deb[0-9]+)-amd64$' |
        { mapfile -t names; [ ${#names[@]} = 0 ] || "$apt" apt-cache madison "${names[@]}" 2>/dev/null; } |
        awk -F'|' -v apt="$apt" '$3 ~ /Packages/ { gsub(/ /, ""); sub(/^linux-image-/, "", $1); print apt, $1, $2 }'
}

# newest_of WANTED: of "APT ABI VERSION" lines those of a series (6.12), of one
# ABI, or all ("newest"): newest first. A series counts by its numbers.
newest_of() {
    awk -v wanted="${1#linux-image-}" '
        wanted == "newest" || $2 == wanted ||
            (wanted ~ /^[0-9]+\.[0-9]+$/ && index($2, wanted ".") == 1)' |
        sort -u | sort -k3,3Vr -k1,1r
}

# The packages that an image's own consists of: itself, or what it names of its ABI.
image_packages() {
    local apt=$1 abi=$2 version=$3
    "$apt" apt-cache show "linux-image-$abi=$version" |
        awk -v abi="$abi" -v version="$version" '
            BEGIN { print "linux-image-" abi "=" version }
            /^Depends:/ {
                n = split($0, word, /[ ,]+/)
                for (i = 1; i <= n; i++)
                    if (word[i] == "linux-binary-" abi || word[i] == "linux-modules-" abi ||
                        word[i] == "linux-base-" abi) print word[i] "=" version
                exit
            }'
}

# fetch_image APT ABI VERSION: into KERNELS/ABI, whole or not at all. Fails where
# the archive does not have it; ends where it cannot be unpacked here.
fetch_image() {
    local apt=$1 abi=$2 version=$3 root=$KERNELS/partial packages
    say "Fetching $abi ($version)"
    mapfile -t packages < <(image_packages "$apt" "$abi" "$version")
    rm -rf --one-file-system "$root"
    mkdir -p "$root/usr/lib" "$root/debs"
    # Packages of before and after the merge of /usr.
    ln -s usr/lib "$root/lib"
    (cd "$root/debs" && "$apt" apt-get download "${packages[@]}") >&2 || return 1
    (unpack_image) || die "cannot unpack $abi in $KERNELS ($(free_mib "$KERNELS") MiB are left there)"
    rm -rf --one-file-system "${KERNELS:?}/$abi"
    mv "$root" "$KERNELS/$abi"
}

unpack_image() {
    set -e
    local deb
    for deb in "$root"/debs/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$root"
    done
    rm -rf "$root/debs"
    [ -e "$root/usr/lib/modules/$abi/vmlinuz" ] ||
        mv "$root/boot/vmlinuz-$abi" "$root/usr/lib/modules/$abi/vmlinuz"
    mkdir -p "$root/boot"
    # Where programs look for what it was configured with.
    [ -e "$root/boot/config-$abi" ] ||
        cp "$root/usr/lib/modules/$abi/config" "$root/boot/config-$abi"
    "$TREE_SCRIPTS/enter" --bind "$root" depmod -b "$root" "$abi"
}
