# SPDX-License-Identifier: MIT OR Apache-2.0
# What must hold after any command: no process left over keeps the module
# busy, the kernel did not warn, nothing leaked. Sourced by guest/main.

teardown() {
    cd /
    # All processes but this one.
    kill -KILL -1 2>/dev/null
    [ -z "$module" ] || remove_module
    [ ! -e /sys/kernel/debug/kmemleak ] || look_for_leaks
    # Bad page, oops, warning, soft lock-up: whatever the log says.
    local tainted; tainted=$(cat /proc/sys/kernel/tainted)
    [ $((tainted & (1 << 5 | 1 << 7 | 1 << 9 | 1 << 14))) = 0 ] ||
        echo "the kernel is tainted: $tainted" >>"$run/complaints"
}

# Killed processes take a moment to go, the module must need no longer.
remove_module() {
    local name=$module_name i
    for ((i = 0; i < 100; i++)); do
        [ -d "/sys/module/$name" ] || return
        rmmod "$name" 2>/dev/null && { echo "module $name removed" >>"$run/ending"; return; }
        sleep 0.1
    done
    echo "module $name cannot be removed: $(rmmod "$name" 2>&1)" >>"$run/complaints"
}

# kmemleak leaves objects younger than five seconds alone, and calls leaked
# only what two scans in a row found no reference to.
look_for_leaks() {
    sleep 6
    echo scan >/sys/kernel/debug/kmemleak
    sleep 1
    echo scan >/sys/kernel/debug/kmemleak
    cat /sys/kernel/debug/kmemleak >"$run/leaks"
    echo "kmemleak: $(grep -c '^unreferenced object' "$run/leaks") objects reported" >>"$run/ending"
    [ ! -s "$run/leaks" ] || head -n 100 "$run/leaks" >>"$run/complaints"
}
