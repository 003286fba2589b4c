// SPDX-License-Identifier: GPL-2.0-only

//! Hearing of changes: the MMU notifier of one descriptor.
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
    context::Context,
    rights,
    table::Table,
    wanted::{Change, Rights},
};
use kernel::{
    bindings, container_of,
    error::to_result,
    ffi::c_int,
    mm::{Mm, MmWithUser},
    prelude::*,
    types::Opaque,
};

/// An MMU notifier, embedded in a [`Context`].
#[repr(transparent)]
pub(crate) struct Notifier(Opaque<bindings::mmu_notifier>);

// SAFETY: The C structure is not bound to a thread.
unsafe impl Send for Notifier {}
// SAFETY: `register` and `unregister` say how they must be serialised; nothing else uses it.
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
    /// - `self` is the `notifier` field of a pinned [`Context`] and is not registered.
    /// - No other thread is in `register` or `unregister`.
    /// - `unregister` is called before the context is freed.
    pub(crate) unsafe fn register(&self, mm: &MmWithUser) -> Result {
        let raw = self.0.get();
        // SAFETY: `raw` is not registered, so nobody else looks at it.
        unsafe { (*raw).ops = OPS.as_ptr() };
        // SAFETY: `raw` is zeroed but for `ops`, pinned, and unregistered before it is freed; the
        // users of `mm` cannot go away during the call; none of its locks are held.
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

    /// Stops listening. Returns when no callback runs any more. May sleep.
    ///
    /// # Safety
    ///
    /// `register` succeeded with the same `mm`, once for each call of this.
    pub(crate) unsafe fn unregister(&self, mm: &Mm) {
        // SAFETY: The notifier is registered with `mm`, of which we hold a reference (`mm_count`);
        // that its users may be gone long ago is fine.
        unsafe { bindings::mmu_notifier_unregister(self.0.get(), mm.as_raw()) };
    }
}

static OPS: Table<bindings::mmu_notifier_ops> = Table::new(bindings::mmu_notifier_ops {
    release: Some(release),
    invalidate_range_start: Some(range_start),
    invalidate_range_end: Some(range_end),
    ..pin_init::zeroed()
});

/// The context around a registered notifier.
///
/// # Safety
///
/// `subscription` is the notifier of a context, and its callback is running.
unsafe fn context<'a>(subscription: *mut bindings::mmu_notifier) -> &'a Context {
    let notifier = subscription.cast::<Notifier>();
    // SAFETY: `Notifier` is a transparent wrapper, embedded in a context, which is not freed until
    // `unregister` has waited for the callbacks to finish.
    unsafe { &*container_of!(notifier, Context, notifier) }
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

/// First and last address of a change, and what `change` makes of it.
///
/// # Safety
///
/// `range` is what the kernel hands to a callback.
unsafe fn read_range(range: *const bindings::mmu_notifier_range) -> (u64, u64, Change) {
    // SAFETY: `range` is valid and not modified during the callback.
    let (start, end, event) = unsafe { ((*range).start, (*range).end, (*range).event) };
    // The kernel announces no empty range; should it, it is taken for one byte.
    (
        start as u64,
        (end as u64).saturating_sub(1).max(start as u64),
        change(event),
    )
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
    let (start, last, change) = unsafe { read_range(range) };
    // SAFETY: This is the callback.
    let context = unsafe { context(subscription) };
    // SAFETY: Called before this callback returns.
    context.begin_change(start, last, change, || unsafe { rights_left(range) });
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
    let (start, last, change) = unsafe { read_range(range) };
    // SAFETY: This is the callback.
    let context = unsafe { context(subscription) };
    // SAFETY: Called before this callback returns.
    context.end_change(start, last, change, || unsafe { rights_left(range) });
}

/// The process is gone (also called by `unregister`).
///
/// # Safety
///
/// Called by the kernel for a registered notifier.
unsafe extern "C" fn release(
    subscription: *mut bindings::mmu_notifier,
    _mm: *mut bindings::mm_struct,
) {
    // SAFETY: This is the callback.
    unsafe { context(subscription) }.owner_gone();
}
