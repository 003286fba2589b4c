/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Memory that is not there, in the calls of the libfabric adaptor and in what libfabric calls: what ../memory.c says holds of them, too. Over the
 * stand-in for libfabric, which is loaded by the first call.
 *
 *   memory FAKE-LIBFABRIC.so
 */
#include "../refusing.h"
#include "fake_libfabric.h"

#include <dlfcn.h>
#include <kdreg/fabric.h>

static struct kdreg_fabric_attr attr = {.size = sizeof attr};
static kdreg_fabric_t *import, *made;
static int (*open_cache)(void);
static void (*close_cache)(void);

static int imports(void) { return kdreg_fabric_import(&attr, &made); }
static void releases(void) { CHECK_IS(kdreg_fabric_release(made), 0); }
static int imports_from_nowhere(void)
{
    struct kdreg_fabric_attr nowhere = {.size = sizeof nowhere, .library = "libno-such-library.so.1"};
    int error = kdreg_fabric_import(&nowhere, &made);
    return error == -ELIBACC ? 0 : error;
}
static int is_chosen(void)
{
    int error = kdreg_fabric_import(&attr, &made);
    return error == -ECANCELED ? 0 : error ? error : -EIO;
}
static int starts(void) { return open_cache(); }
static void stops(void) { close_cache(); }
static int counts(void)
{
    struct kdreg_fabric_stats stats = {.size = sizeof stats};
    return kdreg_fabric_stats(import, &stats);
}

static void hears(void *context, int level, const char *message) { (void)context, (void)level, (void)message; }

int main(int argc, char **argv)
{
    static const struct call importing[] = {
        {"kdreg_fabric_import", imports, releases},
        {"kdreg_fabric_import of a library that is not there", imports_from_nowhere, nothing},
    };
    static const struct call refused_by_the_user = {"kdreg_fabric_import where another is chosen", is_chosen, nothing};
    static const struct call imported[] = {
        {"the first cache", starts, stops},
        {"kdreg_fabric_stats", counts, nothing},
    };
    check_watchdog(250);
    REQUIRE(argc > 1, "usage: memory FAKE-LIBFABRIC.so");
    attr.library = argv[1];
    unsetenv("FI_MR_CACHE_MONITOR");
    check_says("each allocation refused in turn, in a process that has not used the library");
    for (size_t index = 0; index < 2; index++)
        refuse_first(&importing[index]);
    check_says("each allocation of a call refused in turn");
    for (int level = KDREG_LOG_ERROR; level <= KDREG_LOG_DEBUG; level += KDREG_LOG_DEBUG - KDREG_LOG_ERROR) {
        CHECK_IS(kdreg_set_log(hears, NULL, level), 0);
        for (size_t index = 0; index < sizeof importing / sizeof *importing; index++)
            refuse_each(&importing[index], level == KDREG_LOG_DEBUG ? ", heard" : "");
    }
    setenv("FI_MR_CACHE_MONITOR", "memhooks", 1);
    refuse_each(&refused_by_the_user, "");
    unsetenv("FI_MR_CACHE_MONITOR");
    void *library = dlopen(argv[1], RTLD_NOW);
    REQUIRE(library, "%s", dlerror());
    *(void **)&open_cache = dlsym(library, "fake_open");
    *(void **)&close_cache = dlsym(library, "fake_close");
    REQUIRE(open_cache && close_cache, "the stand-in's functions");
    REQUIRE(kdreg_fabric_import(&attr, &import) == 0, "kdreg_fabric_import");
    for (size_t index = 0; index < sizeof imported / sizeof *imported; index++)
        refuse_each(&imported[index], "");
    CHECK_IS(kdreg_fabric_release(import), 0);
    return check_result("fabric_memory");
}
