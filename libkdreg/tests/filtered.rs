// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cache where membarrier(2) is refused: from the start, and by a filter
//! that comes when entries have owners already. Each in a forked child.

use kdreg::cache::{Cache, Handle, Options, Registrar};
use kdreg::errno::Errno;
use kdreg::monitor::manual::Manual;
use kdreg::range::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Clone, Default)]
struct Device(Arc<AtomicUsize>);

impl Registrar for Device {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Handle(range.start()))
    }
    fn deregister(&self, _range: Range, _handle: Handle) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Has membarrier fail for every thread of the process.
fn refuse_membarrier() {
    let step = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            libc::SYS_membarrier as u32,
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, refused),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: filters the process's own calls, as local memory describes.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let all = libc::SECCOMP_FILTER_FLAG_TSYNC;
        let set = libc::SECCOMP_SET_MODE_FILTER;
        let result = libc::syscall(libc::SYS_seccomp, set, all, &raw const program);
        assert_eq!(result, 0);
    }
}

fn region(index: usize) -> Range {
    Range::new(0x10_0000_0000 + index * 0x10000, 0x2000).unwrap()
}

/// Hits that make this thread the owner, and releases by another thread.
fn use_and_release(filter_late: bool) {
    let device = Device::default();
    let (manual, monitor) = Manual::open().unwrap();
    let options = Options {
        max_entries: 4,
        no_reaper: true,
        ..Options::default()
    };
    let cache = Cache::new(&monitor, options, Box::new(device.clone())).unwrap();
    for round in 0..20 {
        for index in 0..4 {
            drop(cache.get(region(index), 1).unwrap());
        }
        if filter_late && round == 10 {
            refuse_membarrier();
        }
    }
    let held = cache.get(region(0), 1).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Evicts what is idle, detaches what is not.
            drop(cache.get(region(7), 1).unwrap());
            manual.change(region(0));
            cache.reap().unwrap();
            assert!(!held.is_valid());
            assert!(cache.find(region(0), 1).is_err());
        });
    });
    assert_eq!(
        device.0.load(Ordering::Relaxed),
        4,
        "held: still registered"
    );
    drop(held);
    assert_eq!(device.0.load(Ordering::Relaxed), 3);
    assert_eq!(cache.flush().unwrap(), 3);
    assert_eq!(device.0.load(Ordering::Relaxed), 0);
    assert_eq!(cache.statistics().unwrap().in_use, 0);
}

/// Whether `body` gets to its end in a child.
fn passes_in_child(body: impl FnOnce()) -> bool {
    // SAFETY: the child runs `body` and nothing of the harness.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
        // SAFETY: ends the process.
        unsafe { libc::_exit(i32::from(!passed)) };
    }
    let mut status = 0;
    // SAFETY: waits for our own child.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

#[test]
fn works_where_membarrier_is_refused() {
    assert!(passes_in_child(|| {
        refuse_membarrier();
        use_and_release(false);
    }));
    assert!(passes_in_child(|| use_and_release(true)));
    assert!(passes_in_child(|| use_and_release(false)));
}
