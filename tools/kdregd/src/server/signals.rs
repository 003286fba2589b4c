// SPDX-License-Identifier: MIT OR Apache-2.0
//! The signals that end kdregd.

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::AsFd as _;

fn ending() -> SigSet {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGHUP);
    signals
}

/// From now on they are waited for.
pub fn hold() -> Result<()> {
    ending().thread_block().context("signals")
}

/// Readable when one has come.
pub fn descriptor() -> Result<SignalFd> {
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    SignalFd::with_flags(&ending(), flags).context("signalfd")
}

/// Whether one has come, waiting for so long at most. It still is there to be read.
pub fn come_within(limit: PollTimeout) -> Result<bool> {
    let signals = descriptor()?;
    let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, limit).context("poll")? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::raise;

    #[test]
    fn a_signal_that_is_waited_for_is_there_until_it_is_read() {
        hold().unwrap();
        assert!(!come_within(PollTimeout::ZERO).unwrap());
        // Of this thread alone, which holds it.
        raise(Signal::SIGHUP).unwrap();
        for _ in 0..2 {
            assert!(come_within(PollTimeout::NONE).unwrap());
        }
        let signal = descriptor().unwrap().read_signal().unwrap().unwrap();
        assert_eq!(signal.ssi_signo, Signal::SIGHUP as u32);
        assert!(!come_within(PollTimeout::ZERO).unwrap());
    }
}
