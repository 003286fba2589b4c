/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What kdreg_fabric_import refuses, with the real libfabric, and that it says what to do about it. Needs no device.
 *
 *   refusals LIBRARY    one that is there, and is no libfabric
 */
#include <errno.h>
#include <kdreg.h>
#include <kdreg/fabric.h>
#include <rdma/fabric.h>
#include <rdma/fi_ext.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;
static char said[4096];

static void remember(void *ctx, int level, const char *message)
{
    (void)ctx, (void)level;
    snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", message);
}

/* `words`: what the log must have said; NULL: anything. */
static void expect(const char *what, int got, int wanted, const char *words)
{
    bool good = got == wanted && (!words || strstr(said, words));
    printf("%s: %d%s\n", what, got, good ? "" : " FAILED");
    if (!good) {
        printf("  wanted %d, and \"%s\" in the log, which has:\n%s", wanted, words ? words : "", said);
        failures++;
    }
    said[0] = 0;
}

/* Another library's monitor, as Open MPI has one. */
static int start(struct fid_mem_monitor *monitor)
{
    (void)monitor;
    return 0;
}
static void stop(struct fid_mem_monitor *monitor)
{
    (void)monitor;
}
static int subscribe(struct fid_mem_monitor *monitor, const void *addr, size_t length)
{
    (void)monitor, (void)addr, (void)length;
    return 0;
}
static void unsubscribe(struct fid_mem_monitor *monitor, const void *addr, size_t length)
{
    (void)monitor, (void)addr, (void)length;
}
static bool valid(struct fid_mem_monitor *monitor, const void *addr, size_t length)
{
    (void)monitor, (void)addr, (void)length;
    return true;
}

int main(int argc, char **argv)
{
    struct kdreg_fabric_attr attr = { .size = sizeof attr };
    struct kdreg_fabric_stats stats = { .size = sizeof stats };
    kdreg_fabric_t *import = NULL, *second = NULL;
    struct fi_info *info = NULL;

    kdreg_set_log(remember, NULL, KDREG_LOG_DEBUG);
    unsetenv("FI_MR_CACHE_MONITOR");
    fi_getinfo(FI_VERSION(1, 13), NULL, NULL, 0, NULL, &info);
    if (info)
        fi_freeinfo(info);

    expect("nowhere to store it", kdreg_fabric_import(NULL, NULL), -EINVAL, NULL);
    attr.flags = 64;
    expect("an unknown flag", kdreg_fabric_import(&attr, &import), -EINVAL, NULL);
    attr.flags = 0;
    attr.library = "/nonexistent/libfabric.so.1";
    expect("no libfabric", kdreg_fabric_import(&attr, &import), -ELIBACC, "Install libfabric");
    attr.library = argc > 1 ? argv[1] : "libc.so.6";
    expect("a library that is no libfabric", kdreg_fabric_import(&attr, &import), -ELIBACC, "cannot use");
    attr.library = NULL;

    setenv("FI_MR_CACHE_MONITOR", "memhooks", 1);
    expect("the environment asks for another monitor", kdreg_fabric_import(NULL, &import), -ECANCELED, "Unset it");
    attr.flags = KDREG_FABRIC_OVERRIDE;
    expect("the same, overridden", kdreg_fabric_import(&attr, &import), 0, "has libkdreg as its memory monitor");
    attr.flags = 0;
    unsetenv("FI_MR_CACHE_MONITOR");

    expect("a second import", kdreg_fabric_import(NULL, &second), -EBUSY, "--mca memory ^patcher");
    expect("statistics", kdreg_fabric_stats(import, &stats), 0, NULL);
    expect("starts without a domain", (int)stats.starts, 0, NULL);
    expect("release", kdreg_fabric_release(import), 0, NULL);
    expect("release again", kdreg_fabric_release(import), -EBADF, NULL);
    expect("statistics of what is released", kdreg_fabric_stats(import, &stats), -EBADF, NULL);
    expect("import anew", kdreg_fabric_import(NULL, &import), 0, NULL);
    expect("release", kdreg_fabric_release(import), 0, NULL);

    static struct fi_ops_mem_monitor ops = { .size = sizeof ops,         .start = start,
                                             .stop = stop,               .subscribe = subscribe,
                                             .unsubscribe = unsubscribe, .valid = valid };
    static struct fid_mem_monitor foreign = { .fid.fclass = FI_CLASS_MEM_MONITOR, .export_ops = &ops };
    struct fid *cache;
    expect("another library imports", fi_open(FI_VERSION(1, 13), "mr_cache", NULL, 0, 0, &cache, NULL), 0, NULL);
    expect("its monitor", fi_import_fid(cache, &foreign.fid, 0), 0, NULL);
    expect("import after that", kdreg_fabric_import(NULL, &import), -EBUSY, "Import before the first domain");

    puts(failures ? "FAILED" : "passed");
    return failures ? 1 : 0;
}
