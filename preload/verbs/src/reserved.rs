// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tables that are reserved once and never given back, zero where nothing was
//! written. What is in them stays readable whatever else happens.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicPtr, Ordering};

/// `LENGTH` values of `T`, which must be valid when all its bytes are zero.
pub struct Reserved<T, const LENGTH: usize> {
    base: AtomicPtr<T>,
    _values: PhantomData<T>,
}

impl<T, const LENGTH: usize> Reserved<T, LENGTH> {
    /// # Safety
    /// A `T` whose bytes are all zero is valid, and has nothing to drop.
    pub const unsafe fn new() -> Reserved<T, LENGTH> {
        Reserved {
            base: AtomicPtr::new(std::ptr::null_mut()),
            _values: PhantomData,
        }
    }

    /// Where it begins; null when it was never used.
    pub fn known(&self) -> *mut T {
        // Relaxed: an address; the contents are zero pages from the kernel.
        self.base.load(Ordering::Relaxed)
    }

    /// Where it begins; `None` when there is no address space.
    pub fn base(&self) -> Option<*mut T> {
        let base = self.known();
        if !base.is_null() {
            return Some(base);
        }
        // SAFETY: a new anonymous mapping affects no existing memory.
        let fresh = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                LENGTH * size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if fresh == libc::MAP_FAILED {
            return None;
        }
        let mine = fresh.cast::<T>();
        let null = std::ptr::null_mut();
        match self
            .base
            .compare_exchange(null, mine, Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => Some(mine),
            Err(winner) => {
                // SAFETY: mapped above, and known to nobody.
                unsafe { libc::munmap(fresh, LENGTH * size_of::<T>()) };
                Some(winner)
            }
        }
    }

    /// One of them; `None` when it was never used.
    pub fn get(&self, index: usize) -> Option<&'static T> {
        let base = self.known();
        // SAFETY: mapped with this length, never unmapped, and zero or written
        // as a T.
        (!base.is_null() && index < LENGTH).then(|| unsafe { &*base.add(index) })
    }

    /// The values; none when there is no address space.
    pub fn all(&self) -> &'static [T] {
        self.base().map_or(&[], |base| {
            // SAFETY: mapped with this length, never unmapped, and zero or
            // written as a T.
            unsafe { std::slice::from_raw_parts(base, LENGTH) }
        })
    }
}
