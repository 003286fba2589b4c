// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for another thread.

use std::time::Duration;

/// Lets other threads run while one of them is waited for, the `round`th time.
pub(crate) fn pause(round: u32) {
    if round < 32 {
        std::hint::spin_loop();
    } else if round < 64 {
        std::thread::yield_now();
    } else {
        // A thread of higher priority must sleep for a lower one to run.
        sleep(Duration::from_micros(50));
    }
}

/// Sleeps for so long, or less. Not std's, which ends the thread where a filter
/// refuses the system call; and not through libc's, which is a cancellation point.
pub(crate) fn sleep(time: Duration) {
    let time = libc::timespec {
        tv_sec: time.as_secs() as libc::time_t,
        tv_nsec: time.subsec_nanos() as libc::c_long,
    };
    let nothing = std::ptr::null_mut::<libc::timespec>();
    // SAFETY: reads a local variable.
    unsafe {
        libc::syscall(
            libc::SYS_clock_nanosleep,
            libc::CLOCK_MONOTONIC,
            0,
            &raw const time,
            nothing,
        )
    };
}
