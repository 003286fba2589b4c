// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices that programs have open, and how much is seen of what they post
//! there.

use crate::abi::{Slot, ibv_context};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// How much is seen of what is posted with a device's registrations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Sight {
    /// All of it.
    All = 0,
    /// The driver has an interface of its own, which posts unseen. Nobody is
    /// linked with it.
    Named = 1,
    /// Not all of it.
    Some = 2,
}

/// How many devices are known at a time.
const CAPACITY: usize = 64;

/// A device, and what was in the place of the functions exchanged.
pub struct Context {
    /// 0: free. Release, for the Acquire in `find`.
    address: AtomicUsize,
    sight: AtomicU8,
    pub poll_cq: Slot,
    pub post_send: Slot,
    pub post_recv: Slot,
    pub post_srq_recv: Slot,
    pub post_srq_ops: Slot,
    pub create_wq: Slot,
}

static KNOWN: [Context; CAPACITY] = [const { Context::unused() }; CAPACITY];

/// What is known of a context.
pub fn find(context: *mut ibv_context) -> Option<&'static Context> {
    KNOWN
        .iter()
        .find(|known| known.address.load(Ordering::Acquire) == context as usize)
}

impl Context {
    const fn unused() -> Context {
        Context {
            address: AtomicUsize::new(0),
            sight: AtomicU8::new(Sight::Some as u8),
            poll_cq: Slot::new(std::ptr::null_mut()),
            post_send: Slot::new(std::ptr::null_mut()),
            post_recv: Slot::new(std::ptr::null_mut()),
            post_srq_recv: Slot::new(std::ptr::null_mut()),
            post_srq_ops: Slot::new(std::ptr::null_mut()),
            create_wq: Slot::new(std::ptr::null_mut()),
        }
    }

    /// The device is known from here on. One thread at a time begins and ends
    /// contexts (`interpose`).
    pub fn begin(&self, context: *mut ibv_context, sight: Sight) {
        self.sight.store(sight as u8, Ordering::Relaxed);
        self.address.store(context as usize, Ordering::Release);
    }

    /// It is known no more.
    pub fn end(&self) {
        for old in [
            &self.poll_cq,
            &self.post_send,
            &self.post_recv,
            &self.post_srq_recv,
            &self.post_srq_ops,
            &self.create_wq,
        ] {
            old.store(std::ptr::null_mut(), Ordering::Relaxed);
        }
        self.address.store(0, Ordering::Release);
    }

    /// Something was made that is posted to unseen.
    pub fn lose_sight(&self) {
        self.sight.store(Sight::Some as u8, Ordering::Relaxed);
    }

    pub fn sight(&self) -> Sight {
        // Relaxed: who posts unseen has lost sight before, in the same thread
        // or in one that the deregistering thread has heard of.
        match self.sight.load(Ordering::Relaxed) {
            0 => Sight::All,
            1 => Sight::Named,
            _ => Sight::Some,
        }
    }
}

/// Something was opened by which is posted unseen to any of them.
pub fn lose_sight() {
    for known in &KNOWN {
        if known.address.load(Ordering::Acquire) != 0 {
            known.lose_sight();
        }
    }
}
