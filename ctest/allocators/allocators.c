/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* allocators NAME: the load of load.c with that allocator, told to give memory back as soon as it can. The program starts itself once more,
 * with the allocator before all other libraries. */
#include <dlfcn.h>
#include <sys/resource.h>

#include "../check.h"
#include "load.h"
#include "pages.h"

static const struct allocator {
    const char *name, *package;
    const char *libraries[2]; /* under one of these names */
    const char *settings[5];
} allocators[] = {
    {"glibc", NULL, {NULL}, {NULL}},
    {"glibc-returns", NULL, {NULL}, {"MALLOC_TRIM_THRESHOLD_=4096", "MALLOC_TOP_PAD_=0", "MALLOC_MMAP_THRESHOLD_=65536", NULL}},
    {"jemalloc", "libjemalloc2", {"libjemalloc.so.2"}, {"MALLOC_CONF=background_thread:true,dirty_decay_ms:0,muzzy_decay_ms:0", NULL}},
    /* So that it is those threads that give memory back, not whoever frees. */
    {"jemalloc-background", "libjemalloc2", {"libjemalloc.so.2"}, {"MALLOC_CONF=background_thread:true,dirty_decay_ms:10,muzzy_decay_ms:10", NULL}},
    {"mimalloc",
     "libmimalloc2.0",
     {"libmimalloc.so.2", "libmimalloc.so.3"},
     {"MIMALLOC_PAGE_RESET=1", "MIMALLOC_DECOMMIT_DELAY=0", "MIMALLOC_PURGE_DELAY=0", "MIMALLOC_ABANDONED_PAGE_DECOMMIT=1", NULL}},
    {"tcmalloc", "libtcmalloc-minimal4", {"libtcmalloc_minimal.so.4"}, {"TCMALLOC_RELEASE_RATE=1000", "TCMALLOC_AGGRESSIVE_DECOMMIT=true", NULL}},
};

static const struct allocator *named(const char *name)
{
    for (size_t i = 0; i < sizeof allocators / sizeof *allocators; i++)
        if (strcmp(allocators[i].name, name) == 0)
            return &allocators[i];
    return NULL;
}

/* Whose malloc() this program has. */
static const char *library_of_malloc(void)
{
    Dl_info info;
    void *address = dlsym(RTLD_DEFAULT, "malloc");
    return address && dladdr(address, &info) && info.dli_fname ? info.dli_fname : "";
}

/* The name under which it is installed; NULL: it is not. */
static const char *installed(const struct allocator *allocator)
{
    for (size_t i = 0; i < 2 && allocator->libraries[i]; i++) {
        if (dlopen(allocator->libraries[i], RTLD_LAZY))
            return allocator->libraries[i];
        /* Some can only be loaded at the start, and say so. */
        const char *why = dlerror();
        if (why && !strstr(why, "No such file"))
            return allocator->libraries[i];
    }
    return NULL;
}

static void start_again(const struct allocator *allocator)
{
    for (int i = 0; allocator->settings[i]; i++)
        putenv((char *)(uintptr_t)allocator->settings[i]);
    if (allocator->package) {
        const char *library = installed(allocator);
        if (!library) {
            printf("skipped: no %s here (Debian's %s)\n", allocator->libraries[0], allocator->package);
            exit(CHECK_SKIPPED);
        }
        setenv("LD_PRELOAD", library, 1);
    }
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    REQUIRE(length > 0, "/proc/self/exe: %s", strerror(errno));
    self[length] = '\0';
    fflush(stdout);
    execl(self, self, allocator->name, "started", (char *)NULL);
    REQUIRE(false, "%s: %s", self, strerror(errno));
}

int main(int argc, char **argv)
{
    const struct allocator *allocator = argc > 1 ? named(argv[1]) : NULL;
    if (!allocator) {
        fprintf(stderr, "usage: allocators NAME\n");
        for (size_t i = 0; i < sizeof allocators / sizeof *allocators; i++)
            fprintf(stderr, "    %s\n", allocators[i].name);
        return 2;
    }
    if (argc == 2)
        start_again(allocator);
    check_watchdog(280);
    const char *preloaded = getenv("LD_PRELOAD");
    REQUIRE(!allocator->package || (preloaded && strstr(library_of_malloc(), preloaded)), "malloc is that of %s, not of %s", library_of_malloc(),
            allocator->libraries[0]);
    printf("%s: malloc is that of %s\n", allocator->name, library_of_malloc());
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max < 4096 ? files.rlim_max : 4096;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (!pages_possible())
        return CHECK_SKIPPED;
    return load_run();
}
