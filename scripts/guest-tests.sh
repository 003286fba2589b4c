# SPDX-License-Identifier: MIT OR Apache-2.0
# Read after env.sh by scripts that run a directory of tests in a guest, of which
# the user may choose some: which they are, and what came of them.

# matching PATTERNS FILE...: those of the files whose names one of the patterns
# matches, which are words.
matching() {
    local file pattern patterns
    read -ra patterns <<<"$1"
    shift
    for file; do
        for pattern in "${patterns[@]}"; do
            # shellcheck disable=SC2254 # a pattern is what it is
            case ${file##*/} in
            $pattern)
                echo "$file"
                break
                ;;
            esac
        done
    done
}

# all_match VARIABLE FILE...: ends the script if one of the patterns in the
# variable names none of the files.
all_match() {
    local variable=$1 pattern patterns
    read -ra patterns <<<"${!1}"
    shift
    for pattern in "${patterns[@]}"; do
        [ -n "$(matching "$pattern" "$@")" ] || die "$variable: '$pattern' names no test; there are: ${*##*/}"
    done
}

# results DIRECTORY [WHERE]: reports on the tests there, as they have ended.
results() {
    local name result seconds
    while read -r name result seconds; do
        checking "${2:-}$name"
        case $result in
        ok) pass "$seconds s" ;;
        skipped) echo "skipped: $(tail -n 1 "$1/$name.log")" ;;
        *) fail "$result, after $seconds s; the end of ${1#"$root/"}/$name.log:" \
            "$(tail -n 25 "$1/$name.log")" ;;
        esac
        # What a test wants to be read.
        sed -n 's/^| /      | /p' "$1/$name.log"
    done <"$1/results.txt"
    [ ! -s "$1/lost" ] || sed 's/^| /      | /' "$1/lost"
}
