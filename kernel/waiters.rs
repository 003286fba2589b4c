// SPDX-License-Identifier: GPL-2.0-only

//! Those who wait for events: readers and pollers.
//!
//! The crate's `PollCondVar` waits for a grace period of RCU when it goes, since what it is part of
//! may go before the file does. Here it cannot: the queue is part of what a file has as its private
//! data, and goes in its `release`. Whoever waits for a file by poll, select, io_uring or aio holds
//! it meanwhile, and epoll takes its items off the queue before `release` is called. So there is
//! nothing to wait for, and closing many descriptors is quick.

use core::{cell::UnsafeCell, mem::MaybeUninit, ptr::null_mut};
use kernel::{
    bindings,
    ffi::{c_int, c_uint},
    fs::File,
    prelude::*,
    types::Opaque,
};

/// The class of all queues' locks, for lockdep.
struct Class(UnsafeCell<MaybeUninit<bindings::lock_class_key>>);

// SAFETY: Only its address is used here; lockdep has locks of its own.
unsafe impl Sync for Class {}

static CLASS: Class = Class(UnsafeCell::new(MaybeUninit::zeroed()));

/// A wait queue, part of the private data of a file.
///
/// # Invariants
///
/// The queue is initialised.
#[pin_data]
pub(crate) struct Waiters {
    #[pin]
    queue: Opaque<bindings::wait_queue_head>,
}

// SAFETY: The queue has a lock of its own.
unsafe impl Send for Waiters {}
// SAFETY: As above.
unsafe impl Sync for Waiters {}

impl Waiters {
    pub(crate) fn new() -> impl PinInit<Self> {
        // INVARIANT: The queue is initialised.
        pin_init!(Self {
            queue <- Opaque::ffi_init(|slot: *mut bindings::wait_queue_head| {
                // SAFETY: The slot is ours to initialise, and stays where it is. Name and class
                // are static.
                unsafe {
                    bindings::__init_waitqueue_head(
                        slot,
                        c"kdreg::waiters".as_char_ptr(),
                        CLASS.0.get().cast(),
                    );
                }
            }),
        })
    }

    /// Wakes all. Does not sleep.
    pub(crate) fn wake(&self) {
        // SAFETY: By the type invariants it is a wait queue.
        unsafe {
            bindings::__wake_up(
                self.queue.get(),
                bindings::TASK_NORMAL as c_uint,
                0,
                null_mut(),
            )
        };
    }

    /// Sleeps until `ready`, which is called a few times and must not sleep itself. ERESTARTSYS when
    /// a signal comes first.
    pub(crate) fn wait(&self, mut ready: impl FnMut() -> bool) -> Result {
        let entry = Opaque::<bindings::wait_queue_entry>::uninit();
        // SAFETY: The entry stays where it is, and off the queue when this function is left: at its
        // end `finish_wait` takes it off, and a failing `prepare_to_wait_event` does.
        unsafe { bindings::init_wait_entry(entry.get(), 0) };
        loop {
            // On the queue before looking, so that no wake-up is missed.
            //
            // SAFETY: Queue and entry are initialised.
            let failed = unsafe {
                bindings::prepare_to_wait_event(
                    self.queue.get(),
                    entry.get(),
                    bindings::TASK_INTERRUPTIBLE as c_int,
                )
            };
            if ready() {
                break;
            }
            if failed != 0 {
                return Err(ERESTARTSYS);
            }
            // SAFETY: A system call, with no lock held.
            unsafe { bindings::schedule() };
        }
        // SAFETY: As for `prepare_to_wait_event`.
        unsafe { bindings::finish_wait(self.queue.get(), entry.get()) };
        Ok(())
    }

    /// Has a poller woken later on.
    ///
    /// # Safety
    ///
    /// `file` is the file that this is part of the private data of; `table` is what its `poll` was
    /// called with.
    pub(crate) unsafe fn poll(&self, file: &File, table: *mut bindings::poll_table_struct) {
        // SAFETY: The table is null or valid, by the caller's promise; the queue stays for as long
        // as the poller is on it (see the beginning of this file).
        unsafe { bindings::poll_wait(file.as_ptr(), self.queue.get(), table) };
    }
}
