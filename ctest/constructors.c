/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* constructors OBJECT
 * The library is opened, used for the first time by a thread, and closed where the C library runs code of others': in a constructor of the
 * program, in constructors and destructors of an object under dlopen and dlclose, and in functions given to atexit. The loader's lock is held
 * in some of them: neither the library's threads nor whoever starts them may need it. */
#include <dlfcn.h>
#include <pthread.h>

#include "check.h"
#include "plain.h"

static char *memory;
static int before_main = -1;

static int use_all(void)
{
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = plain_register, .dereg = plain_deregister};
    kdreg_t *monitor;
    kdreg_cache_t *cache;
    kdreg_entry_t *entry;
    if (!memory)
        memory = check_space(65536);
    int error = kdreg_open(NULL, &monitor);
    if (!error)
        error = kdreg_cache_create(monitor, &attr, &cache);
    if (!error)
        error = kdreg_cache_get(cache, memory, 4096, KDREG_ACCESS_READ, &entry);
    if (!error)
        error = kdreg_cache_put(cache, entry);
    if (!error)
        error = kdreg_cache_destroy(cache);
    return error ? error : kdreg_close(monitor);
}

__attribute__((constructor)) static void construct(void)
{
    check_watchdog(200);
    before_main = use_all();
}

static void at_exit(void)
{
    int error = use_all();
    if (error) {
        fprintf(stderr, "FAILED at exit: %s\n", kdreg_strerror(error));
        _exit(1);
    }
}

static void load_and_unload(const char *path)
{
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    REQUIRE(object, "dlopen: %s", dlerror());
    const int *constructed = dlsym(object, "constructed");
    REQUIRE(constructed, "dlsym: %s", dlerror());
    CHECK(*constructed == 0, "in a constructor under dlopen: %s", kdreg_strerror(*constructed));
    REQUIRE(dlclose(object) == 0, "dlclose: %s", dlerror());
}

static void *loads(void *path)
{
    for (int round = 0; round < 20; round++)
        load_and_unload(path);
    return NULL;
}

int main(int argc, char **argv)
{
    REQUIRE(argc == 2, "usage: constructors OBJECT");
    check_says("a constructor of the program");
    CHECK(before_main == 0, "before main(): %s", kdreg_strerror(before_main));
    check_says("constructors under dlopen, destructors under dlclose");
    loads(argv[1]);
    check_says("the same in two threads at a time");
    pthread_t threads[2];
    for (int index = 0; index < 2; index++)
        REQUIRE(pthread_create(&threads[index], NULL, loads, argv[1]) == 0, "pthread_create");
    for (int index = 0; index < 2; index++)
        pthread_join(threads[index], NULL);
    check_says("a function given to atexit");
    REQUIRE(atexit(at_exit) == 0, "atexit");
    return check_result("constructors");
}
