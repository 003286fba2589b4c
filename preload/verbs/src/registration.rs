// SPDX-License-Identifier: MIT OR Apache-2.0
//! A registration that a cache made. The cache's handle is its address.

use crate::abi::ibv_mr;
use crate::memory;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// What libibverbs registered, and whether a program has it to itself.
pub struct Registration {
    /// Null once it was deregistered, or is a program's own. Changed by whoever
    /// holds the cache's entry alone.
    mr: AtomicPtr<ibv_mr>,
    held: AtomicBool,
}

impl Registration {
    /// Its handle; `end` takes it back. `None` without memory for it.
    pub fn new(mr: *mut ibv_mr) -> Option<*mut Registration> {
        let registration = memory::boxed(Registration {
            mr: AtomicPtr::new(mr),
            held: AtomicBool::new(false),
        });
        registration.map(Box::into_raw)
    }

    /// Ends it; what is still registered, or null.
    ///
    /// # Safety
    /// From `new`, and not used after this.
    pub unsafe fn end(this: *mut Registration) -> *mut ibv_mr {
        // SAFETY: the caller's promise.
        unsafe { Box::from_raw(this) }.mr.into_inner()
    }

    /// libibverbs's structure.
    pub fn mr(&self) -> *mut ibv_mr {
        // Relaxed: the entry was got from the cache, which publishes it.
        self.mr.load(Ordering::Relaxed)
    }

    /// Makes it one program's alone, if it is nobody's.
    pub fn hold(&self) -> bool {
        // Acquire: pairs with the Release in `let_go`.
        !self.held.swap(true, Ordering::Acquire)
    }

    pub fn let_go(&self) {
        self.held.store(false, Ordering::Release);
    }

    /// Takes it out of the cache's hands; it stays held, so nobody else gets
    /// what is left.
    pub fn take(&self) -> *mut ibv_mr {
        self.mr.swap(std::ptr::null_mut(), Ordering::Relaxed)
    }

    /// Undoes `take`.
    pub fn give(&self, mr: *mut ibv_mr) {
        self.mr.store(mr, Ordering::Relaxed);
    }
}
