# SPDX-License-Identifier: GPL-2.0-only
# Where the distribution's packages come from: the machine's own apt
# configuration decides, so that no mirror is named here. Sourced.

# The archive that serves Debian's main suites, out of whatever else apt knows.
# DEBIAN_MIRROR= overrides, for hosts that are not Debian themselves.
debian_mirror() {
    local uri
    if [ -n "${DEBIAN_MIRROR:-}" ]; then
        printf '%s\n' "${DEBIAN_MIRROR%/}"
        return
    fi
    uri=$(find_debian_mirror)
    if [ -z "$uri" ]; then
        # apt describes an archive only once its index has been fetched.
        say "Fetching package lists" >&2
        apt-get -qq update >&2 || true
        uri=$(find_debian_mirror)
    fi
    [ -n "$uri" ] || die "apt knows no Debian archive on this machine. Give one:
    make kernel-tree DEBIAN_MIRROR=<URL of a Debian mirror>"
    printf '%s\n' "${uri%/}"
}

# Debian-Security carries the same Origin, hence the Label. All is read: what
# stops early has apt-get killed by SIGPIPE, which is a failure here.
find_debian_mirror() {
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' \
        'Created-By: Packages' 2>/dev/null |
        awk -F'|' '$1 == "Debian" && $2 == "Debian" && !done { print $3; done = 1 }'
}

debian_keyring() {
    local ring=${DEBIAN_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}
    [ -r "$ring" ] || die "no Debian archive keyring at $ring:
    apt-get install debian-archive-keyring, or give DEBIAN_KEYRING=<file>"
    printf '%s\n' "$ring"
}

# The host's proxies and time checks hold for the tree as well.
host_apt_options() {
    apt-config dump |
        grep -Ei '^Acquire::(https?::|ForceIPv|Check-(Date|Valid-Until) |Retries )' |
        grep -Eiv '^Acquire::https?::[^ ]+::(SSLKey|SSLCert) ' || true
}

# debootstrap knows the environment's proxy only.
use_host_proxy() {
    local proxy=
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    case $proxy in http*) export http_proxy=$proxy ;; esac
}
