// SPDX-License-Identifier: MIT OR Apache-2.0
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Java's threads map, register and unmap, with callbacks into Java, while others make garbage, so that the world is stopped again and again:
 * whoever is in a callback then waits, and whoever is in munmap must not wait for them. What is found for a mapping was registered after it
 * was made.
 */
public class Load {
    static native int create();
    static native int destroy();
    static native long map(long length);
    static native void unmap(long address, long length);
    static native long get(long address, long length);
    static native long address(ByteBuffer buffer);
    static native long hits();

    static final AtomicLong clock = new AtomicLong(1);
    static final AtomicLong pinned = new AtomicLong();
    static final AtomicLong stale = new AtomicLong();
    static final AtomicLong failures = new AtomicLong();
    static final AtomicLong mappings = new AtomicLong();
    static volatile Object garbage;
    static volatile boolean over;

    static long registered(long address, long length) {
        pinned.incrementAndGet();
        garbage = new byte[256]; // a callback may start a collection, too
        return clock.incrementAndGet();
    }

    static void deregistered(long number) {
        pinned.decrementAndGet();
        garbage = new byte[256];
    }

    static void found(long born, long number) {
        if (number < 0) {
            failures.incrementAndGet();
        } else if (number <= born) {
            stale.incrementAndGet();
        }
    }

    static void map() {
        final long length = 1 << 16;
        while (!over) {
            long address = map(length);
            if (address == 0) {
                failures.incrementAndGet();
                return;
            }
            long born = clock.incrementAndGet();
            for (int i = 0; i < 12; i++) {
                found(born, get(address + i % 4 * 16384, 8192));
            }
            unmap(address, length);
            mappings.incrementAndGet();
        }
    }

    /** Buffers that a collection frees: what malloc() hands out again is the same memory, and may be found. */
    static void buffers() {
        while (!over) {
            ByteBuffer buffer = ByteBuffer.allocateDirect(1 << 20);
            long address = address(buffer);
            for (int i = 0; i < 4; i++) {
                found(0, get(address + 65536, 4096));
            }
            buffer.put(0, (byte) 1); // it is there still
        }
    }

    static void litter() {
        List<byte[]> kept = new ArrayList<>();
        while (!over) {
            kept.add(new byte[64 << 10]);
            if (kept.size() > 512) {
                kept = new ArrayList<>();
            }
        }
    }

    public static void main(String[] arguments) throws InterruptedException {
        System.loadLibrary("load");
        if (create() != 0) {
            System.err.println("kdreg_cache_create failed");
            System.exit(1);
        }
        List<Thread> threads = new ArrayList<>();
        for (Runnable load : new Runnable[] {Load::map, Load::map, Load::map, Load::buffers, Load::litter, Load::litter}) {
            threads.add(new Thread(load));
        }
        threads.forEach(Thread::start);
        long until = System.nanoTime() + Long.parseLong(arguments[0]) * 1_000_000_000L;
        while (System.nanoTime() < until) {
            System.gc();
            Thread.sleep(20);
        }
        over = true;
        for (Thread thread : threads) {
            thread.join();
        }
        long hits = hits();
        boolean ended = arguments.length > 1 || destroy() == 0 && pinned.get() == 0;
        System.out.printf("runtime: %d mappings, %d hits, %d registrations left, %d failed, %d stale%n", mappings.get(), hits, pinned.get(),
            failures.get(), stale.get());
        if (stale.get() != 0 || failures.get() != 0 || hits <= 0 || !ended) {
            System.exit(1);
        }
    }
}
