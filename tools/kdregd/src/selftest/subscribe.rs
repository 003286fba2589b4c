// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the child comes to be subscribed to MMU notifications.

use anyhow::{Context, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `KVM_CREATE_VM` of linux/kvm.h.
const KVM_CREATE_VM: libc::c_ulong = 0xae01;

/// Subscribes for a moment; the kernel keeps what it needs for it until the
/// address space goes.
pub fn subscribe() -> Result<()> {
    let kvm = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .context("/dev/kvm")?;
    // SAFETY: a call that takes a number.
    let machine = unsafe { libc::ioctl(kvm.as_raw_fd(), KVM_CREATE_VM, 0) };
    if machine < 0 {
        return Err(std::io::Error::last_os_error()).context("/dev/kvm: KVM_CREATE_VM");
    }
    // SAFETY: the kernel has just made it.
    drop(unsafe { OwnedFd::from_raw_fd(machine) });
    Ok(())
}
