// SPDX-License-Identifier: MIT OR Apache-2.0
// kdreg.h from C++: compiles without warnings, links without extern "C" around it, works.
#include <kdreg.h>
#include <kdreg/fabric.h>
#include <kdreg/uring.h>
#include <kdreg/verbs.h>

#include <cerrno>
#include <cstdio>
#include <vector>

namespace {

int add(void *context, void *address, size_t length, uint32_t access, void **handle)
{
    static_cast<void>(length);
    static_cast<void>(access);
    ++*static_cast<int *>(context);
    *handle = address;
    return 0;
}

int remove(void *context, void *address, size_t length, void *handle)
{
    static_cast<void>(length);
    --*static_cast<int *>(context);
    return handle == address ? 0 : -EINVAL;
}

bool fails(const char *what, int error)
{
    if (error)
        std::fprintf(stderr, "FAILED: %s: %s\n", what, kdreg_strerror(error));
    return error != 0;
}

}  // namespace

int main()
{
    const struct kdreg_attr nothing = KDREG_ATTR_INIT;
    const struct kdreg_get_attr asked = KDREG_GET_ATTR_INIT;
    const struct kdreg_cache_info told = KDREG_CACHE_INFO_INIT;
    const struct kdreg_cache_stats counted = KDREG_CACHE_STATS_INIT;
    const struct kdreg_backend_info probed = KDREG_BACKEND_INFO_INIT;
    if (nothing.size + asked.size + told.size + counted.size + probed.size !=
        sizeof nothing + sizeof asked + sizeof told + sizeof counted + sizeof probed)
        return 1;
    const struct kdreg_verbs_attr verbs = KDREG_VERBS_ATTR_INIT;
    const struct kdreg_uring_attr uring = KDREG_URING_ATTR_INIT;
    const struct kdreg_fabric_attr fabric = KDREG_FABRIC_ATTR_INIT;
    const struct kdreg_fabric_stats of_fabric = KDREG_FABRIC_STATS_INIT;
    if (verbs.size + uring.size + fabric.size + of_fabric.size != sizeof verbs + sizeof uring + sizeof fabric + sizeof of_fabric)
        return 1;
    int alive = 0;
    kdreg_t *monitor = nullptr;
    if (fails("kdreg_open", kdreg_open(nullptr, &monitor)))
        return 1;
    kdreg_cache_attr attr{};
    attr.size = sizeof attr;
    attr.reg = add;
    attr.dereg = remove;
    attr.ctx = &alive;
    attr.flags = KDREG_CACHE_NO_REAPER;
    kdreg_cache_t *cache = nullptr;
    if (fails("kdreg_cache_create", kdreg_cache_create(monitor, &attr, &cache)))
        return 1;
    std::vector<char> block(100000);
    kdreg_entry_t *entry = nullptr;
    if (fails("kdreg_cache_get", kdreg_cache_get(cache, block.data(), block.size(), KDREG_ACCESS_READ, &entry)))
        return 1;
    bool covered = kdreg_entry_base(entry) <= static_cast<void *>(block.data()) && kdreg_entry_length(entry) >= block.size();
    kdreg_region region{};
    if (kdreg_caps(monitor) & KDREG_CAP_UNMAP) {
        if (fails("kdreg_monitor", kdreg_monitor(monitor, block.data(), block.size(), 1, &region)))
            return 1;
        covered = covered && kdreg_valid(&region) && kdreg_entry_valid(cache, entry);
    }
    if (fails("kdreg_cache_put", kdreg_cache_put(cache, entry)) || fails("kdreg_cache_destroy", kdreg_cache_destroy(cache)) ||
        fails("kdreg_close", kdreg_close(monitor)))
        return 1;
    std::printf("C++ %ld: %s\n", static_cast<long>(__cplusplus), covered && alive == 0 ? "works" : "FAILED");
    return covered && alive == 0 ? 0 : 1;
}
