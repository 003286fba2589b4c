// SPDX-License-Identifier: MIT OR Apache-2.0
//! What tells threads apart: the thread pointer, which is one load or move,
//! without the call that thread-local storage costs in a shared object.

/// What tells the calling thread from every other that lives: its thread
/// pointer. Never 0.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
pub(crate) fn identity() -> usize {
    let pointer;
    // SAFETY: reads a register's worth of the thread's own memory: by the ABI
    // of thread-local storage the word at the thread pointer holds the thread
    // pointer. Not `pure`: code that runs before and after a callback may run
    // in different threads (fibers).
    unsafe {
        std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, preserves_flags, readonly));
    }
    pointer
}

/// As above.
#[inline(always)]
#[cfg(target_arch = "aarch64")]
pub(crate) fn identity() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe {
        std::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, preserves_flags, nomem));
    }
    pointer
}

/// As above; what the C library calls the thread by.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn identity() -> usize {
    // SAFETY: no preconditions.
    unsafe { libc::pthread_self() as usize }
}

/// The calling thread.
#[derive(Clone, Copy)]
pub(crate) struct Me;

impl Me {
    /// Whether this is what tells the calling thread from others.
    #[inline(always)]
    pub(crate) fn is(self, identity: usize) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let difference;
            // SAFETY: as in `identity`. Compared in one step, since a hit has few
            // registers.
            unsafe {
                std::arch::asm!("xor {}, fs:0", inlateout(reg) identity => difference, options(nostack, readonly));
            }
            let difference: usize = difference;
            difference == 0
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            identity == self::identity()
        }
    }
}
