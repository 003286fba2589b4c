// SPDX-License-Identifier: GPL-2.0-only

//! kdreg: tells a process, before the call that did it returns, that memory which it has registered
//! with a network card no longer maps what it did.
//!
//! # Locks
//!
//! In the order in which they are taken:
//!
//! 1. `Context::config` (mutex): CONFIG_DATA, and whether the notifier is registered.
//! 2. The locks of memory management: the mmap lock, those of vmas and reverse maps, reclaim.
//! 3. `Status::pages` (mutex): the table of state pages. Taken by page faults on the status
//!    mapping, and held across allocations.
//! 4. `Context::regions` (spin lock): regions, their trees, lists and words, events, counters.
//!    Taken by the MMU notifier, in reclaim too; so under it nothing is allocated or freed, nothing
//!    sleeps, and user memory is not touched. Never taken in interrupt context, as notifiers run in
//!    process context: interrupts stay enabled.
//! 5. The locks inside the wait queues. Waiters are woken after `regions` has been let go.
//!
//! # Who calls whom
//!
//! `device` (system calls) → `context` (one descriptor) → `regions` (what the spin lock protects) →
//! `slots`, `unused`, `tree`, `cookies`, `status`. `notifier` calls into `context`.

mod abi;
mod account;
mod addresses;
mod compat;
mod context;
mod cookies;
mod device;
mod events;
mod members;
mod names;
mod notifier;
mod regions;
mod registry;
mod request;
mod rights;
mod slots;
mod space;
mod status;
mod table;
mod tree;
mod unused;
mod waiters;
mod wanted;

use kernel::prelude::*;
use names::Name;

module! {
    type: Kdreg,
    name: "kdreg",
    authors: ["libkdreg developers"],
    description: "Tells RDMA registration caches of changes to the memory they registered",
    license: "GPL v2",
    params: {
        compat_name: u8 {
            default: 1,
            description: "Also register as /dev/kdreg2, if that name is free (default 1)",
        },
        max_regions: u32 {
            default: 1 << 20,
            description: "Most regions per descriptor (default 1048576)",
        },
        max_user_memory: u64 {
            default: 0,
            description: "Most bytes of kernel memory for all descriptors of a user (default a 25th of memory)",
        },
        first_generation: u32 {
            default: 0,
            description: "Generation that fresh slots start from, to test their retirement (default 0)",
        },
    },
}

/// Most regions that one descriptor may ask for. The indices of slots must fit into the 31 data
/// bits of a state word.
fn region_cap() -> u32 {
    compat::parameter::<u32>(module_parameters::max_regions.value()).min(1 << 28)
}

/// The generation that fresh slots start from.
fn first_generation() -> u32 {
    compat::parameter(module_parameters::first_generation.value())
}

/// An error number that the kernel crate has no constant for.
fn errno(code: u32) -> Error {
    Error::from_errno(-(code as i32))
}

/// The loaded module.
struct Kdreg {
    // Dropped in this order.
    _compat: Option<Pin<KBox<Name>>>,
    _name: Pin<KBox<Name>>,
    _notifiers: Notifiers,
}

/// The notifiers of descriptors that were closed.
struct Notifiers;

impl Drop for Notifiers {
    fn drop(&mut self) {
        notifier::wait_until_freed();
    }
}

impl kernel::Module for Kdreg {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        account::init(compat::parameter(module_parameters::max_user_memory.value()));
        space::init();
        let name = KBox::pin_init(Name::register(c"kdreg"), GFP_KERNEL)?;
        let compat = if compat::parameter::<u8>(module_parameters::compat_name.value()) == 0 {
            None
        } else if name.is_free(c"kdreg2") {
            // Somebody may be faster still; that is no reason to fail.
            KBox::pin_init(Name::register(c"kdreg2"), GFP_KERNEL).ok()
        } else {
            None
        };
        if compat.is_some() {
            pr_info!(
                "/dev/kdreg and /dev/kdreg2, up to {} regions each\n",
                region_cap()
            );
        } else {
            pr_info!("/dev/kdreg, up to {} regions each\n", region_cap());
        }
        Ok(Self {
            _compat: compat,
            _name: name,
            _notifiers: Notifiers,
        })
    }
}
