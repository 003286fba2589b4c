# SPDX-License-Identifier: MIT OR Apache-2.0
"""Ends, and leaves its cache as it is: the interpreter takes down what the callbacks are, and the mappings, in an order of its own."""
import mmap
import sys
import threading

import kdreg

how = sys.argv[1]
cache = kdreg.Cache()
keep = []
for i in range(50):
    mapping = mmap.mmap(-1, 1 << 20)
    keep.append(mapping)
    cache.get(kdreg.address_of(mapping), 8192)
if how == "unmapping":
    # The reaper has them all to release when the interpreter ends.
    for mapping in keep:
        mapping.close()
elif how == "threads":
    # The last mappings are unmapped, by threads that end by themselves, a moment before the interpreter does. (A daemon thread that is in a
    # callback then is Python's affair, with or without a cache.)
    def use():
        for _ in range(200):
            mapping = mmap.mmap(-1, 1 << 16)
            cache.get(kdreg.address_of(mapping), 8192)
            mapping.close()
        sys.exit(1)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
elif how != "idle":
    sys.exit("how?")
print("done")
