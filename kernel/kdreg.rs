// SPDX-License-Identifier: GPL-2.0-only

//! kdreg: tells a process, before the call that did it returns, that memory which it has registered
//! with a network card no longer maps what it did.
//!
//! # Locks
//!
//! In the order in which they are taken:
//!
//! 1. `Context::config` (mutex): CONFIG_DATA of one descriptor.
//! 2. `Space::registered` (mutex): whether the notifier of the process is. Held while it is being
//!    registered, which takes the mmap lock; so it is one of the process, never one of all.
//! 3. The locks of memory management: the mmap lock, those of vmas and reverse maps, reclaim.
//! 4. `Status::pages` (mutex): the table of state pages. Taken by page faults on the status
//!    mapping, and held across allocations.
//! 5. `Space::changes` (spin lock, one for a process): its descriptors, their regions, their trees,
//!    lists and words, events, counters. Taken by the MMU notifier, in reclaim too; so under it
//!    nothing is allocated or freed, nothing sleeps, and user memory is not touched. Looking a
//!    mapping up takes RCU and no lock. Never taken in interrupt context, as notifiers run in
//!    process context: interrupts stay enabled. Held for 256 regions at most (`space::STEP`),
//!    and to look at 512 descriptors and trees (`invalidation::LOOKS`), each of which takes the longer the
//!    more regions are in it, whatever a call or a change has to do with; `hold` measures it.
//! 6. The locks inside the wait queues. Waiters are woken after `changes` has been let go.
//!
//! `USERS` and `SPACES` (mutexes): what users and processes there are. Leaves, held for a look.
//!
//! # PREEMPT_RT
//!
//! There the spin lock is a sleeping lock with priority inheritance, and this is what it has to be:
//! a raw one would keep the processor for the time of 256 regions. Sleeping is allowed wherever it
//! is taken. Notifiers are called under the mmap lock or under the locks of reverse maps, which are
//! sleeping locks on every kernel, inside SRCU, which allows sleeping, and never under a page table
//! lock, as the range is announced before that is taken and after it is let go. What a caller from
//! the OOM killer or from reclaim must not do is wait for memory, by whatever way: whoever holds
//! the lock allocates nothing and waits for nobody, so it ends, and inherits the caller's priority
//! meanwhile. What is called where sleeping is not allowed even there (`free_notifier`) takes
//! no lock; that a grace period of RCU waits for it, as bottom halves are disabled around it, is
//! true there, too (`local_bh_disable()` enters RCU). Nothing counts on a spin lock to disable
//! preemption: there is no data per processor.
//! The words and counters that user space reads are atomics of their own. RCU is asked for in
//! `vma_lookup` alone, which begins and ends it inside.
//!
//! # Who calls whom
//!
//! `device` (system calls) → `context`, `events`, `dump` (one descriptor) → `space` (all of a process, what
//! the spin lock protects) → `members`, `regions` → `slots`, `free_list`, `tree`, `class_set`, `cookies`,
//! `status`.
//! `notifier` calls into `space` by way of `invalidation`, page faults into `status` by `mapping`. `account`
//! charges what `slots` and `status` allocate.

mod abi;
mod account;
mod addresses;
mod answers;
mod change_mask;
mod class_set;
mod compat;
mod context;
mod cookies;
mod device;
mod dump;
mod events;
mod free_list;
mod hold;
mod invalidation;
mod mapping;
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
mod waiters;

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
        measure_holds: u8 {
            default: 0,
            description: "Measure how long locks are held, and show it in fdinfo (default 0)",
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
        account::init(compat::parameter(
            module_parameters::max_user_memory.value(),
        ));
        space::init();
        hold::init(compat::parameter::<u8>(module_parameters::measure_holds.value()) != 0);
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
