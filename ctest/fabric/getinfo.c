/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A libfabric that has nothing but fi_getinfo, in an old version, in those of today and in one to come (getinfo.map). Each says which one it
 * is, and is a cancellation point. And, with -DPROGRAM, a program that was linked with one of them, and calls it, or does not (an argument),
 * or calls it in a thread that is cancelled there, and ends cancelled itself ("cancelled"). */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef PROGRAM
int fi_getinfo(uint32_t version, const char *node, const char *service, uint64_t flags, const void *hints, void **info);
#define STRING(x) #x
#define TEXT(x) STRING(x)
__asm__(".symver fi_getinfo, fi_getinfo@FABRIC_1." TEXT(PROGRAM));

/* The address alone makes libfabric necessary. */
static int (*volatile call)(uint32_t, const char *, const char *, uint64_t, const void *, void **) = fi_getinfo;

static void *cancel_first(void *unused)
{
    pthread_cancel(pthread_self());
    call(0, NULL, NULL, 0, NULL, NULL);
    return unused;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "cancelled")) {
        pthread_t thread;
        void *ended;
        if (pthread_create(&thread, NULL, cancel_first, NULL) || pthread_join(thread, &ended) || ended != PTHREAD_CANCELED)
            return 1;
        pthread_cancel(pthread_self());
        exit(0);
    }
    return argc > 1 ? 0 : call(0, NULL, NULL, 0, NULL, NULL) != PROGRAM;
}
#else
#define VERSION(n)                                                                                                     \
    int getinfo_##n(uint32_t version, const char *node, const char *service, uint64_t flags, const void *hints, void **info); \
    int getinfo_##n(uint32_t version, const char *node, const char *service, uint64_t flags, const void *hints, void **info)  \
    {                                                                                                                  \
        (void)version, (void)node, (void)service, (void)flags, (void)hints, (void)info;                                \
        pthread_testcancel();                                                                                          \
        return n;                                                                                                      \
    }                                                                                                                  \
    __asm__(".symver getinfo_" #n ", fi_getinfo@FABRIC_1." #n)
VERSION(3);
VERSION(8);
VERSION(9);
VERSION(10);
VERSION(17);
#endif
