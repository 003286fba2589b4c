# SPDX-License-Identifier: MIT OR Apache-2.0
# Usage: storms.sh SECONDS [BACKEND]...
# The storm (ctest/storm) for so long on each backend, one after the other:
# userfaultfd-strict, userfaultfd-relaxed, kernel (in the guest). Says what goes
# on, and ends with a table; what each printed is in target/storms/.
. "$(dirname "$0")/env.sh"
set -eu

seconds=$1
shift
[ $# -gt 0 ] || set -- userfaultfd-strict userfaultfd-relaxed kernel
case $seconds in
'' | *[!0-9]*) die "seconds are a number, not '$seconds'" ;;
esac
out=$target/storms
storm=$target/ctest/storm/storm
module=$root/kernel/kdreg.ko
rm -rf "$out"
mkdir -p "$out"
[ -x "$storm" ] || die "no $storm: make storms builds it"

# storm BACKEND: one run.
run() {
    case $1 in
    userfaultfd-strict) "$storm" --backend userfaultfd --seconds "$seconds" ;;
    userfaultfd-relaxed) "$storm" --backend userfaultfd --relaxed --seconds "$seconds" ;;
    kernel)
        # Booting, ending, and an emulated machine that is late.
        ctest/vm/run --module "$module" --timeout $((seconds + 300)) -- \
            "$storm" --backend kernel --seconds "$seconds"
        ;;
    *)
        echo "no backend '$1': userfaultfd-strict, userfaultfd-relaxed or kernel"
        return 2
        ;;
    esac
}

# What the run's log says of it: numbers, by what follows or precedes them.
number() {
    sed -n "s/.*$2.*/\\1/p" "$1" | tail -n 1
}

printf '%-20s %8s %14s %12s %12s %10s %8s  %s\n' backend seconds lookups hits changes handovers stale result >"$out/table"
failed=0
for backend; do
    log=$out/$backend.log
    began=$(date +%s)
    echo "$backend: $seconds s"
    run "$backend" >"$log" 2>&1 &
    pid=$!
    next=30
    while kill -0 $pid 2>/dev/null; do
        sleep 1
        spent=$(($(date +%s) - began))
        if [ $spent -ge $next ]; then
            echo "  $backend: for $spent s now"
            next=$((next + 30))
        fi
    done
    status=0
    wait $pid || status=$?
    spent=$(($(date +%s) - began))
    case $status in
    0) result=ok ;;
    77) result="skipped: $(grep -m 1 'does not work here' "$log" || tail -n 1 "$log")" ;;
    *) result="FAILED with $status: see target/storms/$backend.log" failed=1 ;;
    esac
    [ $status = 0 ] || [ $status = 77 ] || tail -n 20 "$log" | sed 's/^/    /'
    printf '%-20s %8s %14s %12s %12s %10s %8s  %s\n' "$backend" $spent \
        "$(number "$log" '  \([0-9]*\) lookups and checks')" \
        "$(number "$log" ' \([0-9]*\) hits,')" \
        "$(number "$log" ' \([0-9]*\) changes of mappings')" \
        "$(number "$log" '  \([0-9]*\) addresses handed over')" \
        "$(number "$log" 'stale hits: \([0-9]*\)')" "$result" | tee -a "$out/table" >/dev/null
done
echo
cat "$out/table"
exit $failed
