# SPDX-License-Identifier: MIT OR Apache-2.0
"""A cache with callbacks in Python, by ctypes."""
import ctypes as c
import itertools

library = c.CDLL("libkdreg.so.0", use_errno=False)
Register = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.c_size_t, c.c_uint32, c.POINTER(c.c_void_p))
Deregister = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.c_size_t, c.c_void_p)
NO_MERGE, NO_REAPER = 1, 2


class Attributes(c.Structure):
    _fields_ = [("size", c.c_size_t), ("reg", Register), ("dereg", Deregister), ("ctx", c.c_void_p),
                ("max_entries", c.c_size_t), ("max_bytes", c.c_size_t), ("max_unreleased", c.c_size_t),
                ("alignment", c.c_size_t), ("max_merge", c.c_size_t), ("flags", c.c_uint32), ("reserved", c.c_uint32)]


class Statistics(c.Structure):
    _fields_ = [("size", c.c_size_t)] + [(name, c.c_uint64) for name in (
        "hits misses registrations register_failures deregistrations merges evictions invalidations uncached "
        "duplicates entries bytes in_use unreleased_bytes").split()]


for name, arguments in {"kdreg_cache_create": [c.c_void_p, c.POINTER(Attributes), c.POINTER(c.c_void_p)],
                        "kdreg_cache_destroy": [c.c_void_p],
                        "kdreg_cache_get": [c.c_void_p, c.c_void_p, c.c_size_t, c.c_uint32, c.POINTER(c.c_void_p)],
                        "kdreg_cache_put": [c.c_void_p, c.c_void_p],
                        "kdreg_cache_flush": [c.c_void_p],
                        "kdreg_cache_stats": [c.c_void_p, c.POINTER(Statistics)],
                        "kdreg_entry_handle": [c.c_void_p]}.items():
    getattr(library, name).argtypes = arguments
library.kdreg_entry_handle.restype = c.c_void_p


class Cache:
    """Its registrations are numbers in the order of a clock that callers read, too."""

    def __init__(self, flags=0):
        self.clock = itertools.count(1)
        self.pinned = 0
        self.attributes = Attributes(size=c.sizeof(Attributes), reg=Register(self.register), dereg=Deregister(self.deregister),
                                     max_entries=256, flags=flags)
        self.cache = c.c_void_p()
        error = library.kdreg_cache_create(None, c.byref(self.attributes), c.byref(self.cache))
        assert error == 0, error

    def register(self, context, address, length, access, handle):
        self.pinned += 1
        handle[0] = next(self.clock)
        return 0

    def deregister(self, context, address, length, handle):
        self.pinned -= 1
        return 0

    def get(self, address, length):
        """The number of the registration; it is put back at once."""
        entry = c.c_void_p()
        error = library.kdreg_cache_get(self.cache, address, length, 3, c.byref(entry))
        assert error == 0, error
        number = library.kdreg_entry_handle(entry)
        error = library.kdreg_cache_put(self.cache, entry)
        assert error == 0, error
        return number

    def statistics(self):
        statistics = Statistics(size=c.sizeof(Statistics))
        assert library.kdreg_cache_stats(self.cache, c.byref(statistics)) == 0
        return statistics

    def destroy(self):
        return library.kdreg_cache_destroy(self.cache)


def address_of(mapping):
    """The address of a mapping, which may be closed afterwards."""
    view = c.c_char.from_buffer(mapping)
    address = c.addressof(view)
    del view
    return address
