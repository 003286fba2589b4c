// SPDX-License-Identifier: GPL-2.0-only

//! Hearing of changes: the MMU notifier of one address space.
//!
//! The kernel's word is taken as it comes. At times it names more than what changed: to split a
//! mapping at an address that is not on a huge page boundary it announces that the huge page there
//! is taken apart (CLEAR, all of it), whether there is one or not. From here that cannot be told
//! from huge pages that really go, so regions around the split become invalid as well. And pages
//! that are pinned and stay after all are announced like those that go: by compaction, by reclaim
//! that was asked for (MADV_PAGEOUT), by migration that fails. Whether a page is pinned is looked at
//! after the announcement, under locks that are not held here.
//!
//! A change of protection alone can be told from none: see `rights`.

use crate::{
    abi::*,
    change_mask::{Change, Rights},
    invalidation::Changing,
    rights,
    space::Space,
    table::Table,
};
use kernel::{
    bindings, container_of,
    error::to_result,
    ffi::c_int,
    mm::MmWithUser,
    prelude::*,
    sync::atomic::{Acquire, Atomic, Relaxed, Release},
    types::Opaque,
};

/// An MMU notifier, embedded in a [`Space`].
#[repr(transparent)]
pub(crate) struct Notifier(Opaque<bindings::mmu_notifier>);

// SAFETY: The C structure is not bound to a thread.
unsafe impl Send for Notifier {}
// SAFETY: `register` and `put` say how they must be serialised; nothing else uses it.
unsafe impl Sync for Notifier {}

impl Notifier {
    /// A notifier that is not registered.
    pub(crate) fn new() -> Self {
        Self(Opaque::zeroed())
    }

    /// Starts to listen to `mm`. May sleep, and takes the mmap lock.
    ///
    /// # Safety
    ///
    /// - `self` is the `notifier` field of a [`Space`] in an `Arc`, of which a reference is set aside
    ///   for [`Space::freed`], and has not been registered with success before.
    /// - No other thread is in `register` or `put`.
    pub(crate) unsafe fn register(&self, mm: &MmWithUser) -> Result {
        let raw = self.0.get();
        // SAFETY: `raw` is not registered, so nobody else looks at it.
        unsafe { (*raw).ops = OPS.as_ptr() };
        // SAFETY: `raw` is zeroed but for `ops`, pinned, and stays until `free_notifier` is called;
        // the users of `mm` cannot go away during the call; none of its locks are held.
        to_result(unsafe { bindings::mmu_notifier_register(raw, mm.as_raw()) }).map_err(|err| {
            // It gives up when a signal is pending. Nothing has happened: take the signal and
            // start over, whatever the program thinks of restarting.
            if err == EINTR {
                ERESTARTNOINTR
            } else {
                err
            }
        })
    }

    /// Stops listening. Callbacks may still be running; when the last of them is done, the kernel
    /// calls [`Space::freed`], some time. Does not sleep.
    ///
    /// # Safety
    ///
    /// `register` succeeded, once for each call of this.
    pub(crate) unsafe fn put(&self) {
        // Relaxed: whoever removes the module does so after the last descriptor was closed.
        let _ = BEING_FREED.fetch_add(1, Relaxed);
        // SAFETY: The notifier is registered with an address space that it holds (`mm_count`); that
        // its users may be gone long ago is fine. `mmu_notifier_put` is one of the two ways to end
        // what `mmu_notifier_register` began.
        unsafe { bindings::mmu_notifier_put(self.0.get()) };
    }
}

/// Notifiers that were put and are not freed yet.
static BEING_FREED: Atomic<u32> = Atomic::new(0);

/// Waits until the kernel has freed all notifiers that were put: nothing of this file runs any more,
/// nor will. To be called when the module is removed and no descriptor is open. May sleep.
pub(crate) fn wait_until_freed() {
    // Acquire: pairs with the release in `free_notifier`. What that did before is done.
    while BEING_FREED.load(Acquire) != 0 {
        // SAFETY: Called in process context, with no lock held. `mmu_notifier_synchronize` alone
        // does not do: it waits for the grace period, not for what is called after it.
        unsafe {
            bindings::mmu_notifier_synchronize();
            bindings::msleep(1);
        }
    }
    // The last one may not have returned yet. It runs with bottom halves disabled, which a grace
    // period of RCU waits for.
    //
    // SAFETY: As above.
    unsafe { bindings::synchronize_rcu() };
}

static OPS: Table<bindings::mmu_notifier_ops> = Table::new(bindings::mmu_notifier_ops {
    release: Some(release),
    invalidate_range_start: Some(range_start),
    invalidate_range_end: Some(range_end),
    free_notifier: Some(free_notifier),
    ..pin_init::zeroed()
});

/// The address space around a registered notifier.
///
/// # Safety
///
/// `subscription` is the notifier of a [`Space`].
unsafe fn around(subscription: *mut bindings::mmu_notifier) -> *const Space {
    let notifier = subscription.cast::<Notifier>();
    // SAFETY: `Notifier` is a transparent wrapper, embedded in a `Space`.
    unsafe { container_of!(notifier, Space, notifier) }
}

/// The same for as long as a callback runs.
///
/// # Safety
///
/// `subscription` is the notifier of a [`Space`], and its callback is running.
unsafe fn space<'a>(subscription: *mut bindings::mmu_notifier) -> &'a Space {
    // SAFETY: The reference that was set aside is not given back before callbacks have finished.
    unsafe { &*around(subscription) }
}

/// The kernel's reason. One that is new to us counts as all of them: better a registration lost
/// than data.
fn change(event: bindings::mmu_notifier_event) -> Change {
    Change::new(match event {
        bindings::mmu_notifier_event_MMU_NOTIFY_CLEAR => KDREG_CHANGE_CLEAR,
        bindings::mmu_notifier_event_MMU_NOTIFY_PROTECTION_VMA => KDREG_CHANGE_PROTECTION,
        bindings::mmu_notifier_event_MMU_NOTIFY_PROTECTION_PAGE => KDREG_CHANGE_WRITE_PROTECT,
        bindings::mmu_notifier_event_MMU_NOTIFY_SOFT_DIRTY => KDREG_CHANGE_SOFT_DIRTY,
        bindings::mmu_notifier_event_MMU_NOTIFY_MIGRATE => KDREG_CHANGE_MIGRATE,
        bindings::mmu_notifier_event_MMU_NOTIFY_EXCLUSIVE => KDREG_CHANGE_EXCLUSIVE,
        bindings::mmu_notifier_event_MMU_NOTIFY_UNMAP => KDREG_CHANGE_UNMAP,
        _ => KDREG_CHANGE_ALL,
    })
}

/// What the change leaves of the mapping's rights.
///
/// # Safety
///
/// `range` is what the kernel hands to a callback.
unsafe fn rights_left(range: *const bindings::mmu_notifier_range) -> Rights {
    // SAFETY: `range` is valid and not modified during the callback.
    if unsafe { (*range).event } != bindings::mmu_notifier_event_MMU_NOTIFY_PROTECTION_VMA {
        return Rights::NONE;
    }
    // SAFETY: It is a change of protection.
    unsafe { rights::left_in(range) }
}

/// A change as the kernel announces it.
///
/// # Safety
///
/// `range` is what the kernel hands to a callback.
unsafe fn read_range(range: *const bindings::mmu_notifier_range) -> Changing {
    // SAFETY: `range` is valid and not modified during the callback.
    let (start, end, event) = unsafe { ((*range).start, (*range).end, (*range).event) };
    // The kernel announces no empty range; should it, it is taken for one byte.
    Changing {
        start: start as u64,
        last: (end as u64).saturating_sub(1).max(start as u64),
        change: change(event),
    }
}

/// Before the change.
///
/// Never fails, also where it must not sleep: it does not sleep.
///
/// # Safety
///
/// Called by the kernel for a registered notifier.
unsafe extern "C" fn range_start(
    subscription: *mut bindings::mmu_notifier,
    range: *const bindings::mmu_notifier_range,
) -> c_int {
    // SAFETY: `range` comes from the kernel.
    let changing = unsafe { read_range(range) };
    // SAFETY: This is the callback.
    let space = unsafe { space(subscription) };
    // SAFETY: Called before this callback returns.
    space.begin_change(changing, || unsafe { rights_left(range) });
    0
}

/// After the change. As no start fails on our account, each has its end.
///
/// # Safety
///
/// Called by the kernel for a registered notifier.
unsafe extern "C" fn range_end(
    subscription: *mut bindings::mmu_notifier,
    range: *const bindings::mmu_notifier_range,
) {
    // SAFETY: `range` comes from the kernel.
    let changing = unsafe { read_range(range) };
    // SAFETY: This is the callback.
    let space = unsafe { space(subscription) };
    // SAFETY: Called before this callback returns.
    space.end_change(changing, || unsafe { rights_left(range) });
}

/// The process is gone.
///
/// # Safety
///
/// Called by the kernel for a registered notifier.
unsafe extern "C" fn release(
    subscription: *mut bindings::mmu_notifier,
    _mm: *mut bindings::mm_struct,
) {
    // SAFETY: This is the callback.
    unsafe { space(subscription) }.owner_gone();
}

/// No callback runs any more, nor will. Called where sleeping is not allowed.
///
/// # Safety
///
/// Called by the kernel for a notifier that was put.
unsafe extern "C" fn free_notifier(subscription: *mut bindings::mmu_notifier) {
    // SAFETY: It is the notifier of a `Space`.
    let space = unsafe { around(subscription) };
    // SAFETY: `register` succeeded with it. What goes with the last reference is freed without
    // sleeping: the kernel still holds the address space itself.
    unsafe { Space::freed(space) };
    // Subtracts: it wraps. Release: pairs with the acquire in `wait_until_freed`.
    let _ = BEING_FREED.fetch_add(1u32.wrapping_neg(), Release);
}
