// SPDX-License-Identifier: MIT OR Apache-2.0
//! A lock that is taken in one call and given back in another, and that is
//! unlocked when its bytes are zero.

use std::sync::atomic::{AtomicU32, Ordering};

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and somebody sleeps.
const WAITED_FOR: u32 = 2;

pub struct Lock(AtomicU32);

impl Lock {
    // Acquire in both: pairs with the Release in `unlock`.
    #[inline]
    pub fn lock(&self) {
        let got = self
            .0
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed);
        if got.is_err() {
            self.wait();
        }
    }

    #[cold]
    fn wait(&self) {
        // Whoever comes from here leaves WAITED_FOR, as there may be more.
        while self.0.swap(WAITED_FOR, Ordering::Acquire) != FREE {
            self.futex(libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, WAITED_FOR);
        }
    }

    /// Only by the thread that locked it.
    #[inline]
    pub fn unlock(&self) {
        if self.0.swap(FREE, Ordering::Release) == WAITED_FOR {
            self.futex(libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1);
        }
    }

    #[cold]
    fn futex(&self, operation: libc::c_int, value: u32) {
        // SAFETY: the address of a word that stays; no time-out. errno is the
        // caller's, and is left as it was.
        unsafe {
            let errno = *libc::__errno_location();
            libc::syscall(
                libc::SYS_futex,
                self.0.as_ptr(),
                operation,
                value,
                std::ptr::null::<libc::timespec>(),
            );
            *libc::__errno_location() = errno;
        }
    }
}
