/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Verbs: memory regions of a protection domain that follow the memory. Only registration is shown; the keys go into work
 * requests as those of ibv_reg_mr() do. */
#include <errno.h>
#include <infiniband/verbs.h>
#include <inttypes.h>
#include <kdreg.h>
#include <kdreg/verbs.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { LENGTH = 64 << 10, RIGHTS = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ };

static struct ibv_context *open_first_device(void)
{
    struct ibv_device **devices = ibv_get_device_list(NULL);
    struct ibv_context *context = devices && devices[0] ? ibv_open_device(devices[0]) : NULL;
    if (context)
        printf("device %s\n", ibv_get_device_name(devices[0]));
    if (devices)
        ibv_free_device_list(devices);
    return context;
}

/* What a sender does for each message. */
static int post(kdreg_cache_t *cache, const char *message, size_t length, uint32_t *key)
{
    struct ibv_mr *mr;
    kdreg_entry_t *entry;
    int error = kdreg_verbs_cache_get(cache, message, length, RIGHTS, &mr, &entry);
    if (error) {
        fprintf(stderr, "kdreg_verbs_cache_get: %s\n", kdreg_strerror(error));
        return error;
    }
    struct ibv_sge sge = {.addr = (uintptr_t)message, .length = (uint32_t)length, .lkey = mr->lkey};
    printf("%u bytes with key %#" PRIx32 ", of a region of %zu\n", sge.length, sge.lkey, mr->length);
    *key = mr->lkey;
    /* ... ibv_post_send() with it; and when it has completed: */
    return kdreg_cache_put(cache, entry);
}

int main(void)
{
    int error = kdreg_verbs_probe();
    if (error) {
        printf("skipped: %s\n", error == -ENODEV ? "there is no verbs device" : strerror(-error));
        return 77;
    }
    struct ibv_context *context = open_first_device();
    struct ibv_pd *pd = context ? ibv_alloc_pd(context) : NULL;
    if (!pd) {
        perror("the verbs device");
        return 1;
    }
    kdreg_cache_t *cache;
    struct kdreg_verbs_attr attr = {.size = sizeof attr, .max_bytes = 1 << 30};
    error = kdreg_verbs_cache_create(pd, &attr, &cache);
    if (error) {
        fprintf(stderr, "kdreg_verbs_cache_create: %s\n", kdreg_strerror(error));
        return 1;
    }
    char *buffer = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint32_t first, again, part, other;
    if (buffer == MAP_FAILED || post(cache, buffer, LENGTH, &first) || post(cache, buffer, LENGTH, &again) ||
        post(cache, buffer + 5000, 100, &part))
        return 1;
    puts("other memory takes the buffer's place");
    if (mmap(buffer, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != buffer)
        return 1;
    if (post(cache, buffer, LENGTH, &other))
        return 1;
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    if (kdreg_cache_stats(cache, &stats))
        return 1;
    printf("%" PRIu64 " hits, %" PRIu64 " registrations\n", stats.hits, stats.registrations);
    /* Where nothing can be watched, each transfer has a region of its own: correct, and slow. */
    if (!stats.uncached && (again != first || part != first || stats.registrations != 2))
        return 1;
    if (kdreg_cache_destroy(cache))
        return 1;
    ibv_dealloc_pd(pd);
    return ibv_close_device(context) ? 1 : 0;
}
