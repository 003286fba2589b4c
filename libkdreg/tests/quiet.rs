// SPDX-License-Identifier: MIT OR Apache-2.0
//! A hit allocates nothing, makes no system call (strict userfaultfd: one),
//! and so waits for no lock: on the backend of tests, whose check is the kernel
//! backend's, and on userfaultfd.
//!
//! System calls are counted by seccomp in a forked child: once the filter is
//! there, any call but those that are allowed kills it. Each case is a child of
//! its own, which has no threads but those its backend starts.

use kdreg::cache::{Cache, Handle, Options, Registrar};
use kdreg::errno::Errno;
use kdreg::monitor::manual::Manual;
use kdreg::monitor::{self, Kind, Monitor};
use kdreg::range::Range;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts allocations.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: the system's allocator, and a count.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Nothing;

impl Registrar for Nothing {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        Ok(Handle(range.start()))
    }
    fn deregister(&self, _range: Range, _handle: Handle) {}
}

const LENGTH: usize = 1 << 20;
const REGIONS: usize = 16;

/// Kills the process at any system call of this thread's but exit_group and
/// `allowed`.
fn forbid_calls(allowed: libc::c_long) {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(LOAD, 0, 0, 0),
        step(EQUAL, 2, 0, libc::SYS_exit_group as u32),
        step(EQUAL, 1, 0, allowed as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: sets the calling thread's own filter, described by local memory.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(
            libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program),
            0
        );
    }
}

/// Hits, after all that a first use sets up, under the filter.
fn hits(monitor: &Monitor, buffer: Range, allowed: libc::c_long) {
    let cache = Cache::new(monitor, Options::default(), Box::new(Nothing)).unwrap();
    let part = LENGTH / REGIONS;
    let pieces: Vec<Range> = (0..REGIONS)
        .map(|index| Range::new(buffer.start() + index * part, 4096).unwrap())
        .collect();
    let interior = |piece: &Range| Range::new(piece.start() + 100, 50).unwrap();
    let round = || {
        for piece in &pieces {
            drop(cache.get(*piece, 1).unwrap());
            drop(cache.find(interior(piece), 1).unwrap());
            // Several at once, put back in another order.
            let first = cache.get(*piece, 1).unwrap();
            let second = cache.get(interior(piece), 1).unwrap();
            drop(first);
            drop(second);
        }
    };
    (0..3).for_each(|_| round());
    let before = cache.statistics().unwrap();
    let allocations = ALLOCATIONS.load(Ordering::Relaxed);
    forbid_calls(allowed);
    (0..1000).for_each(|_| round());
    let allocated = ALLOCATIONS.load(Ordering::Relaxed) - allocations;
    let after = cache.statistics().unwrap();
    let hits = (after.hits - before.hits) as usize;
    let counted = hits == 1000 * REGIONS * 4 && after.misses == before.misses;
    let code = if !counted {
        2
    } else {
        i32::from(allocated != 0)
    };
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) };
}

/// Runs `body`, which ends the process, in a child.
fn in_child(what: &str, body: impl FnOnce()) {
    // SAFETY: the child runs `body` alone; this test binary has one test, and
    // its harness's main thread holds no lock while it waits for it.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        body();
        // SAFETY: ends the process.
        unsafe { libc::_exit(3) };
    }
    let mut status = 0;
    // SAFETY: waits for our own child.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(
        !libc::WIFSIGNALED(status),
        "{what}: a hit made a system call (signal {})",
        libc::WTERMSIG(status)
    );
    match libc::WEXITSTATUS(status) {
        0 => {}
        1 => panic!("{what}: a hit allocated"),
        2 => panic!("{what}: not every lookup was counted as a hit"),
        4 => println!("skipped: {what} does not work here"),
        other => panic!("{what}: the child ended with {other}"),
    }
}

fn on_userfaultfd(relaxed: bool, allowed: libc::c_long) {
    let options = monitor::Options {
        backend: Some(Kind::Userfaultfd),
        private: true,
        relaxed,
        ..monitor::Options::default()
    };
    let Ok(monitor) = Monitor::open(&options) else {
        // SAFETY: ends the process.
        unsafe { libc::_exit(4) };
    };
    // SAFETY: a new mapping affects no existing memory.
    let buffer = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            LENGTH,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(buffer, libc::MAP_FAILED);
    hits(
        &monitor,
        Range::new(buffer as usize, LENGTH).unwrap(),
        allowed,
    );
}

/// A call that no hit makes.
const NONE: libc::c_long = libc::SYS_exit_group;

#[test]
fn a_hit_makes_no_call_and_allocates_nothing() {
    in_child("the kernel backend's check", || {
        let (_manual, monitor) = Manual::open().unwrap();
        let buffer = Range::new(0x10_0000_0000, LENGTH).unwrap();
        hits(&monitor, buffer, NONE);
    });
    in_child("userfaultfd, relaxed", || on_userfaultfd(true, NONE));
    in_child("userfaultfd, strict", || {
        on_userfaultfd(false, libc::SYS_ioctl)
    });
}
