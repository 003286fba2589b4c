// SPDX-License-Identifier: MIT OR Apache-2.0
//! A hit allocates nothing, makes no system call (strict userfaultfd: one),
//! and so waits for no lock: on the backend of tests, whose check is the kernel
//! backend's, and on userfaultfd.
//!
//! System calls are counted by seccomp in a forked child: once the filter is
//! there, any call kills it, but for the one that strict userfaultfd makes: that
//! is trapped, counted and made by the signal's handler. Each case is a child
//! of its own, which has no threads but those its backend starts.

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

/// The ioctls of the thread under the filter.
static IOCTLS: AtomicU64 = AtomicU64::new(0);

/// The sixth argument of an ioctl, which has three, when `count_ioctl` makes it.
const OURS: u32 = 0x6b64_7265;

/// Counts the ioctl that was trapped, and makes it.
extern "C" fn count_ioctl(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    IOCTLS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: what the kernel hands to a handler with SA_SIGINFO; nobody else
    // uses it meanwhile.
    let machine = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext };
    #[cfg(target_arch = "x86_64")]
    let (result, arguments) = {
        let registers = &mut machine.gregs;
        let arguments =
            [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX].map(|r| registers[r as usize]);
        (&mut registers[libc::REG_RAX as usize], arguments)
    };
    #[cfg(target_arch = "aarch64")]
    let (result, arguments) = {
        let arguments = [0, 1, 2].map(|r| machine.regs[r] as i64);
        (&mut machine.regs[0], arguments)
    };
    let [descriptor, request, argument] = arguments;
    // SAFETY: the call that the library was about to make.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_ioctl,
            descriptor,
            request,
            argument,
            0,
            0,
            u64::from(OURS),
        )
    };
    // As the kernel returns it.
    *result = if returned < 0 {
        -std::io::Error::last_os_error()
            .raw_os_error()
            .map_or(0, i64::from)
    } else {
        returned
    } as _;
}

/// Kills the process at any system call of this thread's but exit_group and,
/// if ioctls are to be counted, those.
fn forbid_calls(ioctls: bool) {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    /// The low half of the sixth argument in `seccomp_data`.
    const SIXTH: u32 = 16 + 5 * 8;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let (ioctl, sigreturn) = if ioctls {
        (libc::SYS_ioctl, libc::SYS_rt_sigreturn)
    } else {
        (libc::SYS_exit_group, libc::SYS_exit_group)
    };
    let mut filter = [
        step(LOAD, 0, 0, 0),
        step(EQUAL, 6, 0, libc::SYS_exit_group as u32),
        step(EQUAL, 5, 0, sigreturn as u32),
        step(EQUAL, 1, 0, ioctl as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        step(LOAD, 0, 0, SIXTH),
        step(EQUAL, 1, 0, OURS),
        step(RETURN, 0, 0, libc::SECCOMP_RET_TRAP),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: a handler that makes only system calls, and the calling thread's
    // own filter, described by local memory.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count_ioctl as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        let old = std::ptr::null_mut();
        assert_eq!(libc::sigaction(libc::SIGSYS, &raw const action, old), 0);
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(
            libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program),
            0
        );
    }
}

/// Hits, after all that a first use sets up, under the filter.
fn hits(monitor: &Monitor, buffer: Range, ioctls: bool) {
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
    forbid_calls(ioctls);
    (0..1000).for_each(|_| round());
    let allocated = ALLOCATIONS.load(Ordering::Relaxed) - allocations;
    let after = cache.statistics().unwrap();
    let hits = (after.hits - before.hits) as usize;
    let counted = hits == 1000 * REGIONS * 4 && after.misses == before.misses;
    let wanted = if ioctls { hits as u64 } else { 0 };
    let code = if !counted {
        2
    } else if IOCTLS.load(Ordering::Relaxed) != wanted {
        5
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
        5 => panic!("{what}: not one ioctl per hit"),
        4 => println!("skipped: {what} does not work here"),
        other => panic!("{what}: the child ended with {other}"),
    }
}

fn on_userfaultfd(relaxed: bool) {
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
        !relaxed,
    );
}

#[test]
fn a_hit_makes_no_call_and_allocates_nothing() {
    in_child("the kernel backend's check", || {
        let (_manual, monitor) = Manual::open().unwrap();
        let buffer = Range::new(0x10_0000_0000, LENGTH).unwrap();
        hits(&monitor, buffer, false);
    });
    in_child("userfaultfd, relaxed", || on_userfaultfd(true));
    in_child("userfaultfd, strict", || on_userfaultfd(false));
}
