# SPDX-License-Identifier: MIT OR Apache-2.0
"""Threads that map, register and unmap, with callbacks in Python, while the collector runs. What is found for a mapping was registered after
it was made."""
import faulthandler
import gc
import mmap
import sys
import threading
import time

import kdreg

seconds = float(sys.argv[1])
faulthandler.dump_traceback_later(seconds + 100, exit=True)
cache = kdreg.Cache()
until = time.monotonic() + seconds
stale = []
maps = [0]


def load(number):
    rounds = 0
    while time.monotonic() < until:
        mapping = mmap.mmap(-1, 1 << 16)
        born = next(cache.clock)
        address = kdreg.address_of(mapping)
        for offset in (0, 4096, 32768):
            for _ in range(3):
                found = cache.get(address + offset, 8192)
                if found <= born:
                    stale.append((address, born, found))
        if rounds % 3 == 0:
            # Garbage with a mapping in it: unmapped by the collector.
            garbage = [mapping]
            garbage.append(garbage)
            del garbage
        else:
            mapping.close()
        del mapping
        if rounds % 50 == number:
            gc.collect()
            kdreg.library.kdreg_cache_flush(cache.cache)
        rounds += 1
    maps[0] += rounds


threads = [threading.Thread(target=load, args=(i,)) for i in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
gc.collect()
statistics = cache.statistics()
assert not stale, "stale hits: %r" % stale[:5]
assert statistics.hits > 0 and statistics.invalidations > 0, "nothing happened"
assert cache.destroy() == 0
assert cache.pinned == 0, "%d registrations are left" % cache.pinned
print("runtime: %d mappings, %d hits, %d registrations, 0 stale" % (maps[0], statistics.hits, statistics.registrations))
