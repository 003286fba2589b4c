// SPDX-License-Identifier: MIT OR Apache-2.0
//! Arrays that never move: address space reserved at once, memory committed as
//! it is needed.
//!
//! Everything that lock-free readers or the notification handler touch lives
//! in one of these: an element's address is fixed for the life of the array,
//! the memory is mapped before it is used, and growing it neither moves nor
//! frees anything.

mod address_space;

use crate::errno::Errno;
use crate::range::page_size;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Types for which all-zero memory is a valid value and which own nothing, so
/// that they may come from fresh pages and be unmapped without being dropped.
///
/// # Safety
/// The implementor asserts both.
pub(crate) unsafe trait Zeroed {}

// SAFETY: an atomic integer is plain data; zero is one of its values.
unsafe impl Zeroed for std::sync::atomic::AtomicU32 {}

/// What a forked child finds in the array.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnFork {
    /// Its own copy, as with any memory.
    Copy,
    /// Zeroes (MADV_WIPEONFORK), whatever the parent had there.
    Zero,
}

/// A fixed-address array of up to `capacity` elements.
///
/// Readers share `&T`: elements that change hold atomics or are reached
/// through the owner's lock.
pub(crate) struct Reservation<T: Zeroed> {
    base: NonNull<T>,
    capacity: usize,
    /// Elements backed by accessible memory. Only grows. Stored with Release
    /// after the memory became accessible, loaded with Acquire before an
    /// element is touched.
    committed: AtomicUsize,
    mapping: NonNull<libc::c_void>,
    mapping_length: usize,
}

// SAFETY: a reservation is an owned block of memory that hands out only `&T`.
unsafe impl<T: Zeroed + Sync> Sync for Reservation<T> {}
// SAFETY: as above; the mapping belongs to the process, not to a thread.
unsafe impl<T: Zeroed + Send> Send for Reservation<T> {}

impl<T: Zeroed> Reservation<T> {
    /// Reserves address space for `capacity` elements; commits none.
    ///
    /// One inaccessible page before and after keeps the mapping apart from
    /// its neighbours: the kernel would otherwise merge it with an adjacent
    /// mapping of the application's, and what is done to that one would touch
    /// ours.
    pub fn new(capacity: usize, on_fork: OnFork) -> Result<Self, Errno> {
        let page = page_size();
        assert!(size_of::<T>() > 0 && align_of::<T>() <= page);
        let payload = capacity
            .checked_mul(size_of::<T>())
            .and_then(|bytes| bytes.checked_next_multiple_of(page))
            .ok_or(Errno::ENOMEM)?;
        let mapping_length = payload.checked_add(2 * page).ok_or(Errno::ENOMEM)?;
        let mapping = address_space::reserve(mapping_length)?;
        // SAFETY: one page into a mapping of at least two.
        let base = unsafe { mapping.byte_add(page) };
        let reservation = Reservation {
            base: base.cast(),
            capacity,
            committed: AtomicUsize::new(0),
            mapping,
            mapping_length,
        };
        if on_fork == OnFork::Zero && payload > 0 && !cfg!(miri) {
            // SAFETY: the range is our own private anonymous mapping.
            let failed =
                unsafe { libc::madvise(base.as_ptr(), payload, libc::MADV_WIPEONFORK) } != 0;
            if failed {
                return Err(Errno::last());
            }
        }
        Ok(reservation)
    }

    /// How many elements there can be.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many elements can be touched now.
    pub fn committed(&self) -> usize {
        self.committed.load(Ordering::Acquire)
    }

    /// Makes at least `count` elements accessible (zeroed when new). Calls the
    /// kernel: not to be called under a lock that the handler takes.
    pub fn commit(&self, count: usize) -> Result<(), Errno> {
        if count > self.capacity {
            return Err(Errno::ENOSPC);
        }
        let have = self.committed();
        if count <= have {
            return Ok(());
        }
        // Grow by half, and by 64 KiB at least, to keep the calls few.
        let page = page_size();
        let step = (64 * 1024 / size_of::<T>()).max(1);
        let want = count
            .max(have + have / 2)
            .max(have + step)
            .min(self.capacity);
        let bytes = (want * size_of::<T>()).next_multiple_of(page);
        // SAFETY: the bytes lie inside our own mapping (`new` rounded the
        // payload up to pages), and making accessible what is accessible
        // already changes nothing, so racing calls are harmless.
        // (Under Miri it is accessible from the beginning.)
        let failed = !cfg!(miri)
            && unsafe {
                libc::mprotect(
                    self.base.as_ptr().cast(),
                    bytes,
                    libc::PROT_READ | libc::PROT_WRITE,
                )
            } != 0;
        if failed {
            return Err(Errno::last());
        }
        // Release: pairs with the Acquire in `committed`. `fetch_max`, since a
        // racing call may have committed more.
        self.committed.fetch_max(want, Ordering::Release);
        Ok(())
    }

    /// Gives the memory back; all elements are zero from here on. For those
    /// whose readers do not mind when.
    pub fn discard(&self)
    where
        T: Sync,
    {
        if cfg!(miri) {
            return;
        }
        // SAFETY: our own private anonymous memory, which stays mapped; zero
        // is a value of T, T owns nothing, and nobody holds more than `&T` of
        // something that others may change at any time.
        unsafe {
            libc::madvise(
                self.base.as_ptr().cast(),
                self.committed() * size_of::<T>(),
                libc::MADV_DONTNEED,
            )
        };
    }

    /// The element at `index`.
    ///
    /// # Panics
    /// When it is not committed.
    pub fn at(&self, index: u32) -> &T {
        assert!(
            (index as usize) < self.committed(),
            "element {index} is not committed"
        );
        // SAFETY: committed elements are accessible, zeroed or since used as
        // T, and never move or go away while `self` is borrowed.
        unsafe { &*self.base.as_ptr().add(index as usize) }
    }

    /// The element that begins so many bytes after the first.
    ///
    /// # Safety
    /// There is one, and it was committed before.
    #[inline(always)]
    pub unsafe fn at_offset_unchecked(&self, offset: usize) -> &T {
        debug_assert!(offset / size_of::<T>() < self.committed());
        // SAFETY: see `at`; the caller vouches for the bound.
        unsafe { &*in_register(self.base.as_ptr().byte_add(offset)) }
    }

    /// How far something is from the first element, in bytes. Of nothing that is
    /// in here it says nothing.
    #[inline(always)]
    pub fn offset_of(&self, pointer: *const T) -> usize {
        pointer.addr().wrapping_sub(self.base.addr().get())
    }

    /// A raw pointer to the element at `index`, for owners that hand out
    /// exclusive access under a lock of theirs.
    pub fn pointer(&self, index: u32) -> *mut T {
        assert!(
            (index as usize) < self.committed(),
            "element {index} is not committed"
        );
        // SAFETY: in bounds of the mapping, as just checked.
        unsafe { self.base.as_ptr().add(index as usize) }
    }

    /// As `pointer`, without the bounds check.
    ///
    /// # Safety
    /// `index` was committed before.
    #[inline(always)]
    pub unsafe fn pointer_unchecked(&self, index: u32) -> *mut T {
        debug_assert!((index as usize) < self.committed());
        // SAFETY: in bounds of the mapping; the caller vouches for it.
        unsafe { self.base.as_ptr().add(index as usize) }
    }

    /// The element that `pointer` is exactly, if it is a committed one.
    #[inline(always)]
    pub fn find(&self, pointer: *const T) -> Option<&T> {
        self.index_of(pointer)?;
        // SAFETY: as in `at`; it is one of ours, and so not null.
        unsafe {
            std::hint::assert_unchecked(!pointer.is_null());
            Some(&*pointer)
        }
    }

    /// Which committed element `pointer` is exactly, if it is one.
    #[inline(always)]
    pub fn index_of(&self, pointer: *const T) -> Option<u32> {
        let offset = (pointer as usize).wrapping_sub(self.base.as_ptr() as usize);
        let index = if size_of::<T>().is_power_of_two() {
            // What is between two elements, or before the first, has bits that
            // come out on top: one comparison tells all.
            offset.rotate_right(size_of::<T>().trailing_zeros())
        } else if offset % size_of::<T>() == 0 {
            offset / size_of::<T>()
        } else {
            return None;
        };
        (index < self.committed()).then_some(index as u32)
    }
}

/// The same pointer, which is in one register from here on: as the sum of two it
/// takes two, and a hit has none left.
#[inline(always)]
fn in_register<T>(pointer: *mut T) -> *mut T {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    let pointer = {
        let mut pointer = pointer;
        // SAFETY: no instruction at all: what comes out is what went in.
        unsafe {
            std::arch::asm!(
                "/* {0} */", inout(reg) pointer,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        pointer
    };
    pointer
}

impl<T: Zeroed> Drop for Reservation<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and `&mut self` proves that no element
        // is borrowed.
        unsafe { libc::munmap(self.mapping.as_ptr(), self.mapping_length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn grows_in_place_and_knows_its_elements() {
        let array = Reservation::<AtomicU32>::new(100_000, OnFork::Copy).unwrap();
        assert_eq!(array.committed(), 0);
        array.commit(1).unwrap();
        let first: *const AtomicU32 = array.at(0);
        array.at(0).store(7, Ordering::Relaxed);
        array.commit(100_000).unwrap();
        assert_eq!(std::ptr::from_ref(array.at(0)), first);
        assert_eq!(array.at(0).load(Ordering::Relaxed), 7);
        assert_eq!(array.at(99_999).load(Ordering::Relaxed), 0);
        assert_eq!(array.index_of(array.at(99_999)), Some(99_999));
        assert_eq!(array.index_of(first.wrapping_byte_add(1)), None);
        assert_eq!(array.index_of(first.wrapping_sub(1)), None);
        assert_eq!(array.commit(100_001), Err(Errno::ENOSPC));
    }

    #[test]
    fn too_large_is_an_error() {
        assert!(Reservation::<AtomicU32>::new(usize::MAX / 2, OnFork::Copy).is_err());
    }
}
