/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Load.java's native side: a cache whose callbacks are methods of Java's, called by Java's threads and by the library's own. */
#define _GNU_SOURCE
#include <errno.h>
#include <jni.h>
#include <kdreg.h>
#include <sys/mman.h>

static JavaVM *machine;
static jclass load;
static jmethodID registered, deregistered;
static kdreg_cache_t *cache;

/* The calling thread's way into Java; the library's thread is let in as a daemon, for the length of a callback. */
static JNIEnv *enter(bool *attached)
{
    JNIEnv *env = NULL;
    *attached = false;
    if ((*machine)->GetEnv(machine, (void **)&env, JNI_VERSION_1_8) == JNI_OK)
        return env;
    if ((*machine)->AttachCurrentThreadAsDaemon(machine, (void **)&env, NULL) != JNI_OK)
        return NULL;
    *attached = true;
    return env;
}

static void leave(bool attached)
{
    if (attached)
        (*machine)->DetachCurrentThread(machine);
}

static int reg(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)context, (void)access;
    bool attached;
    JNIEnv *env = enter(&attached);
    if (!env)
        return -EIO;
    jlong number = (*env)->CallStaticLongMethod(env, load, registered, (jlong)(uintptr_t)addr, (jlong)length);
    bool thrown = (*env)->ExceptionCheck(env);
    leave(attached);
    *handle = (void *)(uintptr_t)number;
    return thrown ? -EIO : 0;
}

static int dereg(void *context, void *addr, size_t length, void *handle)
{
    (void)context, (void)addr, (void)length;
    bool attached;
    JNIEnv *env = enter(&attached);
    if (!env)
        return 0; /* the machine is going */
    (*env)->CallStaticVoidMethod(env, load, deregistered, (jlong)(uintptr_t)handle);
    bool thrown = (*env)->ExceptionCheck(env);
    leave(attached);
    return thrown ? -EIO : 0;
}

JNIEXPORT jint JNICALL Java_Load_create(JNIEnv *env, jclass class)
{
    (*env)->GetJavaVM(env, &machine);
    load = (*env)->NewGlobalRef(env, class);
    registered = (*env)->GetStaticMethodID(env, class, "registered", "(JJ)J");
    deregistered = (*env)->GetStaticMethodID(env, class, "deregistered", "(J)V");
    if (!registered || !deregistered)
        return -EINVAL;
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = reg, .dereg = dereg, .max_entries = 512};
    return kdreg_cache_create(NULL, &attr, &cache);
}

JNIEXPORT jint JNICALL Java_Load_destroy(JNIEnv *env, jclass class)
{
    (void)env, (void)class;
    return kdreg_cache_destroy(cache);
}

JNIEXPORT jlong JNICALL Java_Load_map(JNIEnv *env, jclass class, jlong length)
{
    (void)env, (void)class;
    void *memory = mmap(NULL, (size_t)length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? 0 : (jlong)(uintptr_t)memory;
}

JNIEXPORT void JNICALL Java_Load_unmap(JNIEnv *env, jclass class, jlong address, jlong length)
{
    (void)env, (void)class;
    munmap((void *)(uintptr_t)address, (size_t)length);
}

/* The registration's number, or a negative errno. */
JNIEXPORT jlong JNICALL Java_Load_get(JNIEnv *env, jclass class, jlong address, jlong length)
{
    (void)env, (void)class;
    kdreg_entry_t *entry;
    int error = kdreg_cache_get(cache, (void *)(uintptr_t)address, (size_t)length, KDREG_ACCESS_READ, &entry);
    if (error)
        return error;
    jlong number = (jlong)(uintptr_t)kdreg_entry_handle(entry);
    error = kdreg_cache_put(cache, entry);
    return error ? error : number;
}

JNIEXPORT jlong JNICALL Java_Load_address(JNIEnv *env, jclass class, jobject buffer)
{
    (void)class;
    return (jlong)(uintptr_t)(*env)->GetDirectBufferAddress(env, buffer);
}

JNIEXPORT jlong JNICALL Java_Load_hits(JNIEnv *env, jclass class)
{
    (void)env, (void)class;
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    return kdreg_cache_stats(cache, &stats) ? -1 : (jlong)stats.hits;
}
