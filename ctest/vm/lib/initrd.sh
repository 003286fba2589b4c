# SPDX-License-Identifier: MIT OR Apache-2.0
# The initial file system: busybox, the modules the root file system needs, and
# guest/init. Everything comes from the Debian tree, but for the modules of another
# kernel. Sourced.

INITRD_MODULES="virtio_pci 9pnet_virtio 9p overlay"

# build_initrd KERNEL FILE
build_initrd() {
    local kernel=$1 out=$2 dir busybox=$TREE/bin/busybox module
    [ -x "$busybox" ] && [ -x "$BUSYBOX" ] || die "the tree has no busybox: run 'make kernel-tree' again"
    dir=$(mktemp -d "${TMPDIR:-/tmp}/kdreg-initrd.XXXXXX")
    mkdir -p "$dir"/{bin,dev,proc,sys,modules,new,lower,over}
    cp "$busybox" "$dir/bin/"
    cp "$VM/guest/init" "$dir/init"
    : >"$dir/modules/order"
    [ "$KERNEL_ROOT" = "$TREE" ] || : >"$dir/modules/shared"
    # Another kernel has these built in: its modules would not fit.
    if [ "$kernel" = "$STOCK_KERNEL" ]; then
        for module in $INITRD_MODULES; do add_module "$module"; done
    fi
    (cd "$dir" && find . | "$BUSYBOX" cpio -o -H newc -R 0:0 2>/dev/null) >"$out"
    rm -rf "$dir"
}

# A module and what it depends on, in loading order, uncompressed.
add_module() {
    local base=$KERNEL_ROOT/usr/lib/modules/$ABI line file name i
    line=$(grep -E "/$1\.ko[.a-z]*:" "$base/modules.dep") || {
        grep -qE "/$1\.ko$" "$base/modules.builtin" && return 0
        die "the stock kernel has no module $1"
    }
    local files=(${line%%:*} ${line#*:})
    # modules.dep lists what must come first last.
    for ((i = ${#files[@]} - 1; i >= 0; i--)); do
        file=${files[i]}
        name=$(basename "$file"); name=${name%%.ko*}.ko
        [ ! -e "$dir/modules/$name" ] || continue
        case $file in
        *.xz) xz -dc "$base/$file" ;;
        *.zst) zstd -dcq "$base/$file" ;;
        *.gz) gzip -dc "$base/$file" ;;
        *) cat "$base/$file" ;;
        esac >"$dir/modules/$name"
        echo "$name" >>"$dir/modules/order"
    done
}
