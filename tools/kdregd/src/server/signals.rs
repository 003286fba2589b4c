// SPDX-License-Identifier: MIT OR Apache-2.0
//! The signals that end kdregd.

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

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
