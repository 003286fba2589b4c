// SPDX-License-Identifier: MIT OR Apache-2.0

// Goroutines that map, register and unmap, with callbacks into Go, while the collector runs, the scavenger gives pages back, and the
// scheduler interrupts threads by signals. What is found for a mapping was registered after it was made.
package main

/*
#cgo pkg-config: kdreg
#define _GNU_SOURCE

#include <kdreg.h>
#include <sys/mman.h>

int goRegister(void *, void *, size_t, uint32_t, uintptr_t *);
int goDeregister(void *, void *, size_t, uintptr_t);

static int reg(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    return goRegister(context, addr, length, access, (uintptr_t *)handle);
}

static int dereg(void *context, void *addr, size_t length, void *handle)
{
    return goDeregister(context, addr, length, (uintptr_t)handle);
}

static int create(kdreg_cache_t **cache)
{
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = reg, .dereg = dereg, .max_entries = 512};
    return kdreg_cache_create(NULL, &attr, cache);
}

// The registration's number, or a negative errno.
static long long get(kdreg_cache_t *cache, uintptr_t address, size_t length)
{
    kdreg_entry_t *entry;
    int error = kdreg_cache_get(cache, (void *)address, length, KDREG_ACCESS_READ, &entry);
    if (error)
        return error;
    long long number = (long long)(uintptr_t)kdreg_entry_handle(entry);
    error = kdreg_cache_put(cache, entry);
    return error ? error : number;
}

static uintptr_t take(size_t length)
{
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? 0 : (uintptr_t)memory;
}

static void give(uintptr_t address, size_t length)
{
    munmap((void *)address, length);
}

static unsigned long long hits(kdreg_cache_t *cache)
{
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    return kdreg_cache_stats(cache, &stats) ? 0 : stats.hits;
}
*/
import "C"

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

var cache *C.kdreg_cache_t
var stale, failures, mappings atomic.Int64
var over atomic.Bool

func found(born int64, number C.longlong) {
	if number < 0 {
		failures.Add(1)
	} else if int64(number) <= born {
		stale.Add(1)
	}
}

func mapAndUnmap() {
	const length = 1 << 16
	for !over.Load() {
		address := C.take(length)
		if address == 0 {
			failures.Add(1)
			return
		}
		born := clock.Add(1)
		for i := 0; i < 12; i++ {
			found(born, C.get(cache, address+C.uintptr_t(i%4*16384), 8192))
		}
		C.give(address, length)
		mappings.Add(1)
	}
}

// Go's own heap: registered, dropped, collected, and its pages given back.
func heap() {
	for !over.Load() {
		block := make([]byte, 4<<20)
		if number := C.get(cache, C.uintptr_t(uintptr(unsafe.Pointer(&block[1<<20]))), 65536); number < 0 {
			failures.Add(1)
		}
		runtime.KeepAlive(block)
	}
}

// A loop that only a signal interrupts.
func spin() {
	sum := 0
	for i := 0; !over.Load(); i++ {
		sum += i
	}
	runtime.KeepAlive(sum)
}

func main() {
	seconds, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	if C.create(&cache) != 0 {
		fmt.Println("kdreg_cache_create failed")
		os.Exit(1)
	}
	var group sync.WaitGroup
	for _, load := range []func(){mapAndUnmap, mapAndUnmap, mapAndUnmap, mapAndUnmap, heap, spin} {
		load := load
		group.Add(1)
		go func() {
			defer group.Done()
			load()
		}()
	}
	for until := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(until); {
		debug.FreeOSMemory()
		time.Sleep(10 * time.Millisecond)
	}
	over.Store(true)
	group.Wait()
	hits := uint64(C.hits(cache))
	destroyed := C.kdreg_cache_destroy(cache)
	fmt.Printf("runtime: %d mappings, %d hits, %d registrations left, %d failed, %d stale\n", mappings.Load(), hits, pinned.Load(),
		failures.Load(), stale.Load())
	if stale.Load() != 0 || failures.Load() != 0 || hits == 0 || destroyed != 0 || pinned.Load() != 0 {
		os.Exit(1)
	}
}
