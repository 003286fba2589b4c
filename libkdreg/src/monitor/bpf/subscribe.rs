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
use crate::process::PerProcess;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// `_IO(0xAE, 0x01)` of <linux/kvm.h>.
const KVM_CREATE_VM: libc::c_ulong = 0xae01;

/// Whether this address space was subscribed: that stays with it. (A child that is
/// forked has another, and finds this wiped.)
static SUBSCRIBED: PerProcess<AtomicBool> = PerProcess::new();

/// The subscription of one who enrols, however often it takes kdregd to say yes: making a
/// virtual machine is not cheap, for the whole machine where no other runs.
#[derive(Default)]
pub(super) struct Subscription(Option<Result<(), Refusal>>);

impl Subscription {
    /// Subscribes, unless that was tried. kdregd looks whether it did.
    pub fn ensure(&mut self) -> Result<(), Refusal> {
        self.ensure_by(subscribe)
    }

    fn ensure_by(
        &mut self,
        subscribe: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        *self.0.get_or_insert_with(subscribe)
    }
}

/// Subscribes, in the first way that works, once.
pub(super) fn subscribe() -> Result<(), Refusal> {
    let subscribed = SUBSCRIBED.get()?;
    // Relaxed: it says something of the kernel, which knows what it was asked.
    if subscribed.load(Ordering::Relaxed) {
        return Ok(());
    }
    by_any_way()?;
    subscribed.store(true, Ordering::Relaxed);
    Ok(())
}

fn by_any_way() -> Result<(), Refusal> {
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
fn by_machine() -> Result<(), Refusal> {
    // SAFETY: a C string.
    let fd = unsafe { libc::open(c"/dev/kvm".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(Errno::last().into());
    }
    let kvm = Descriptor::new(fd);
    create(|| {
        // SAFETY: takes a number, which is the machine's type: the default.
        let machine = unsafe { libc::ioctl(kvm.as_raw_fd(), KVM_CREATE_VM as _, 0) };
        if machine < 0 {
            return Err(Errno::last());
        }
        drop(Descriptor::new(machine));
        Ok(())
    })
}

/// How often a signal may come in between: a program that is profiled has many, and a
/// machine that is half made is undone each time.
const TRIES: u32 = 8;

/// Has a machine made, unless signals keep coming. Nothing else is tried again: what
/// has the processor's virtualisation for itself keeps it.
fn create(mut attempt: impl FnMut() -> Result<(), Errno>) -> Result<(), Refusal> {
    for _ in 0..TRIES {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) if error.value() == libc::EINTR => {}
            Err(error) if error.value() == libc::EBUSY => {
                return Err(Refusal::new(
                    error,
                    format_args!("another hypervisor has the processors' virtualisation ({error})"),
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let error = Errno::new(libc::EINTR);
    Err(Refusal::new(
        error,
        format_args!("signals came {TRIES} times while a virtual machine was made ({error})"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a kernel that says so each time, and how often it was asked.
    fn ask(error: i32) -> (String, u32) {
        let mut asked = 0;
        let result = create(|| {
            asked += 1;
            Err(Errno::new(error))
        });
        (result.unwrap_err().to_string(), asked)
    }

    #[test]
    fn a_machine_is_not_asked_for_without_end() {
        let (why, asked) = ask(libc::EINTR);
        assert!(why.contains("signals") && asked == TRIES, "{why}, {asked}");
        let (why, asked) = ask(libc::EBUSY);
        assert!(why.contains("hypervisor") && asked == 1, "{why}, {asked}");
        let (_, asked) = ask(libc::EACCES);
        assert_eq!(asked, 1);
        let mut left = 3;
        create(|| {
            left -= 1;
            if left > 0 {
                Err(Errno::new(libc::EINTR))
            } else {
                Ok(())
            }
        })
        .unwrap_or_else(|why| panic!("{why}"));
    }

    #[test]
    fn who_enrols_subscribes_once() {
        let mut asked = 0;
        let mut subscription = Subscription::default();
        for _ in 0..20 {
            let result = subscription.ensure_by(|| {
                asked += 1;
                Err(Errno::EBUSY.into())
            });
            assert!(result.is_err());
        }
        assert_eq!(asked, 1);
    }
}
