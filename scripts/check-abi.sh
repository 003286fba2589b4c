# SPDX-License-Identifier: MIT OR Apache-2.0
# The ABI is the recorded one; and scripts/abi.sh, which says so, is shown
# changes in scratch copies of the headers: it must refuse those that break a
# compiled program, and ask for a record of those that only add.
. "$(dirname "$0")/env.sh"
set -eu

sh scripts/abi.sh check >"$target/check-abi.log" 2>&1 || failures=1
cat "$target/check-abi.log"
if grep -q '^SKIPPED: ' "$target/check-abi.log" || [ $failures -gt 0 ]; then finish; fi

work=$(mktemp -d "$target/check-abi.XXXXXX")
trap 'rm -rf "$work"' EXIT
broken='This needs another SONAME'
added="These additions break nothing: run 'make abi'"

# noticed WHAT ANSWER SED-SCRIPT: whether that change to kdreg.h is answered so.
noticed() {
    checking "$1"
    rm -rf "$work/include"
    cp -r include "$work/include"
    sed -i "$3" "$work/include/kdreg.h"
    if cmp -s include/kdreg.h "$work/include/kdreg.h"; then
        fail "'$3' changes nothing in kdreg.h: adapt it"
        return
    fi
    if output=$(sh scripts/abi.sh check "$root/abi" "$work/include" 2>&1); then
        fail "it was not noticed" "$output"
    elif echo "$output" | grep -qF "$2"; then
        pass
    else
        fail "$output"
    fi
}

echo "changes that must be noticed:"
noticed "a member in the middle of a structure with a size" "$broken" \
    '/^struct kdreg_cache_attr {/,/^}/s/^    kdreg_register_fn reg;/    int inserted;\n&/'
noticed "a member at the end of a structure without a size" "$broken" \
    '/^struct kdreg_region {/,/^}/s/^};/    uint64_t appended;\n};/'
noticed "a member of another type" "$broken" \
    '/^struct kdreg_cache_attr {/,/^}/s/^    size_t max_bytes;/    uint32_t max_bytes;/'
noticed "two members in the other order" "$broken" \
    '/^struct kdreg_cache_attr {/,/^}/{s/^    size_t max_bytes;/    size_t swapped;/;s/^    size_t max_unreleased;/    size_t max_bytes;/;s/^    size_t swapped;/    size_t max_unreleased;/}'
noticed "a member in the middle, and another at the end" "$broken" \
    '/^struct kdreg_cache_attr {/,/^}/{s/^    kdreg_register_fn reg;/    int inserted;\n&/;s/^};/    size_t appended;\n};/}'
noticed "a parameter of another type" "$broken" 's/^int kdreg_fd(kdreg_t \*monitor);/int kdreg_fd(kdreg_t *monitor, int more);/'
noticed "a result of another type" "$broken" 's/^uint64_t kdreg_caps(/uint32_t kdreg_caps(/'
noticed "a constant of another value" "$broken" 's/^#define KDREG_REASON_REMAP 3/#define KDREG_REASON_REMAP 30/'
noticed "a callback of another type" "$broken" 's/^typedef int (\*kdreg_deregister_fn)(void \*ctx, /&int more, /'
noticed "a function gone" 'kdreg_fd@@' 's/^int kdreg_fd(kdreg_t \*monitor);//'
noticed "a member at the end of a structure with a size" "$added" \
    '/^struct kdreg_cache_attr {/,/^}/s/^};/    size_t appended;\n};/'
noticed "a new constant" "$added" 's/^#define KDREG_REASON_REMAP 3/&\n#define KDREG_REASON_NEW 30/'

echo "what make abi records:"
cp -r include "$work/broken"
sed -i '/^struct kdreg_region {/,/^}/s/^};/    uint64_t appended;\n};/' "$work/broken/kdreg.h"
cp -r abi "$work/record"
checking "nothing that breaks programs of the same SONAME"
if output=$(sh scripts/abi.sh write "$work/record" "$work/broken" 2>&1); then
    fail "$output"
elif ! cmp -s abi/libkdreg.abi "$work/record/libkdreg.abi"; then
    fail "it refused, and wrote"
else
    pass
fi
# The same, had the last release had another SONAME.
sed -i "s/soname='[^']*'/soname='libkdreg.so.before'/" "$work/record/libkdreg.abi"
must "anything under another SONAME" sh scripts/abi.sh write "$work/record" "$work/broken"
must "and then it is the record" sh scripts/abi.sh check "$work/record" "$work/broken"
finish
