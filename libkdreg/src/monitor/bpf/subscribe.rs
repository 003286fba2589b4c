// SPDX-License-Identifier: MIT OR Apache-2.0
//! Having the kernel tell of this address space's changes at all.
//!
//! The kernel calls its MMU notification functions only for an address space that
//! somebody has ever asked to be told about. What is asked with here, a virtual
//! machine without anything in it or one page registered on demand, is undone at
//! once; that somebody asked stays with the address space, and so does what it
//! costs: some hundred instructions for each change, in this process alone.

mod on_demand;

use crate::descriptor::Descriptor;
use crate::errno::Errno;
use crate::monitor::refusal::Refusal;
use std::os::fd::AsRawFd;

/// `_IO(0xAE, 0x01)` of <linux/kvm.h>.
const KVM_CREATE_VM: libc::c_ulong = 0xae01;

/// Subscribes, in the first way that works. kdregd looks whether it did.
pub(super) fn subscribe() -> Result<(), Refusal> {
    let Err(machine) = by_machine() else {
        return Ok(());
    };
    let Err(page) = on_demand::register_page() else {
        return Ok(());
    };
    Err(Refusal::new(
        Errno::ENODEV,
        format_args!(
            "this process has no way to subscribe to its memory's changes: /dev/kvm: {machine}; \
             registration on demand: {page}"
        ),
    ))
}

/// As `subscribe`, for kdregd, which tries its programs as clients use them. An
/// error says why not.
pub fn as_clients_do() -> Result<(), String> {
    subscribe().map_err(|refusal| refusal.to_string())
}

/// By a virtual machine that is closed at once.
fn by_machine() -> Result<(), Errno> {
    let open = |path: &std::ffi::CStr| {
        // SAFETY: a C string.
        let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        if fd < 0 {
            Err(Errno::last())
        } else {
            Ok(Descriptor::new(fd))
        }
    };
    let kvm = open(c"/dev/kvm")?;
    for _ in 0..SIGNALS {
        // SAFETY: takes a number, which is the machine's type: the default.
        let machine = unsafe { libc::ioctl(kvm.as_raw_fd(), KVM_CREATE_VM as _, 0) };
        if machine >= 0 {
            drop(Descriptor::new(machine));
            return Ok(());
        }
        let error = Errno::last();
        if error.value() != libc::EINTR {
            return Err(error);
        }
    }
    Err(Errno::new(libc::EINTR))
}

/// How often a signal may come in between.
const SIGNALS: u32 = 100;
