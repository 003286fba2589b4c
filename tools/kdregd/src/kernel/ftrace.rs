// SPDX-License-Identifier: MIT OR Apache-2.0
//! kernel.ftrace_enabled. While it is 0, programs are neither attached nor detached.
//!
//! Such a kernel calls none of them then, so that attaching is of no use. And what it
//! notes of a function is cleared where its last call is taken out, which has been done
//! when a program goes that is not called: some stays. The kernel takes that for a fault
//! of its own when later the last one goes of all who trace functions: it warns, and lets
//! nobody attach anything until it is booted again, live patches included
//! (`ftrace_shutdown`, `ftrace_check_record`; seen on 6.1).

use anyhow::{Result, bail};
use std::fs;
use std::time::{Duration, Instant};

const SWITCH: &str = "/proc/sys/kernel/ftrace_enabled";

/// Why there is no mode meanwhile.
pub const OFF: &str = "kernel.ftrace_enabled is 0: the kernel calls no program";

/// How long it has to be other than 0. A program that sees it written to says so before
/// the kernel has done it, and whoever writes may be taken off in between.
pub const SETTLED: Duration = Duration::from_secs(1);

/// Whether it is 0. Not where there is no such switch.
pub fn is_off() -> bool {
    fs::read_to_string(SWITCH).is_ok_and(|text| says_off(&text))
}

fn says_off(text: &str) -> bool {
    text.trim() == "0"
}

/// Before programs are detached.
pub fn permits_to_detach() -> Result<()> {
    if is_off() {
        bail!(
            "kernel.ftrace_enabled is 0, and this kernel would let nobody trace functions any more \
             if programs were taken out of them now: write 1 to it before"
        );
    }
    Ok(())
}

/// Waiting until it is safe to attach and detach.
pub struct Settling(Instant);

impl Settling {
    /// From now on.
    pub fn begin() -> Settling {
        Settling(Instant::now())
    }

    /// Whether it is.
    pub fn is_over(&mut self) -> bool {
        if is_off() {
            *self = Settling::begin();
        }
        self.0.elapsed() >= SETTLED
    }
}

#[cfg(test)]
mod tests {
    use super::says_off;

    #[test]
    fn zero_alone_is_off() {
        assert!(says_off("0\n"));
        // As root may have written it.
        for on in ["1\n", "2\n", "10\n", ""] {
            assert!(!says_off(on), "{on:?}");
        }
    }
}
