// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that may not be there: `Box`, `Vec` and `Arc` for a library that must not
//! end the process it is in when an allocation fails. The standard library's
//! do.

use crate::errno::Errno;
use std::alloc::{Layout, alloc};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

/// A box with `value` in it; `ENOMEM`, and the value back, when there is no
/// memory.
pub(crate) fn boxed<T>(value: T) -> Result<Box<T>, (Errno, T)> {
    let layout = Layout::new::<T>();
    let place = if layout.size() == 0 {
        NonNull::<T>::dangling().as_ptr()
    } else {
        // SAFETY: of nonzero size.
        unsafe { alloc(layout) }.cast::<T>()
    };
    if place.is_null() {
        return Err((Errno::ENOMEM, value));
    }
    // SAFETY: fresh memory of the global allocator's, with T's layout, as a
    // box has (dangling for a type without a size).
    unsafe {
        place.write(value);
        Ok(Box::from_raw(place))
    }
}

/// A box with `value` in it, which is dropped when there is no memory.
pub(crate) fn try_box<T>(value: T) -> Result<Box<T>, Errno> {
    boxed(value).map_err(|(error, _)| error)
}

/// A vector with room for `capacity` values.
pub(crate) fn try_vec<T>(capacity: usize) -> Result<Vec<T>, Errno> {
    let mut empty = Vec::new();
    match empty.try_reserve_exact(capacity) {
        Ok(()) => Ok(empty),
        Err(_) => Err(Errno::ENOMEM),
    }
}

/// `count` values, each made by `make`.
pub(crate) fn try_boxes<T>(count: usize, make: impl FnMut() -> T) -> Result<Box<[T]>, Errno> {
    let mut values = try_vec(count)?;
    values.resize_with(count, make);
    Ok(values.into_boxed_slice())
}

/// A value with a count of those that share it.
#[repr(C)]
pub struct Counted<T: ?Sized> {
    count: AtomicUsize,
    value: T,
}

/// A share in a value, as `Arc` without weak ones; the last one drops it.
pub struct Share<T: ?Sized>(NonNull<Counted<T>>);

// SAFETY: as for Arc: shares in several threads hand out `&T`, and the last
// one, in any thread, drops the value.
unsafe impl<T: ?Sized + Send + Sync> Send for Share<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send + Sync> Sync for Share<T> {}

impl<T> Share<T> {
    /// The first share in `value`, which is dropped when there is no memory.
    pub fn new(value: T) -> Result<Share<T>, Errno> {
        let counted = try_box(Counted {
            count: AtomicUsize::new(1),
            value,
        })?;
        Ok(Share(NonNull::from(Box::leak(counted))))
    }

    /// The same share, of the value seen as something unsized: `|it| it`, where
    /// the types are known.
    pub fn unsize<U: ?Sized>(self, coerce: fn(*mut Counted<T>) -> *mut Counted<U>) -> Share<U> {
        let this = std::mem::ManuallyDrop::new(self);
        let unsized_ = coerce(this.0.as_ptr());
        assert!(std::ptr::addr_eq(unsized_, this.0.as_ptr()));
        // Not null, as just seen. A pointer to the same place with another type
        // comes of an unsizing coercion only, which keeps what is there.
        Share(NonNull::new(unsized_).expect("the share's own address"))
    }
}

impl<T: ?Sized> Share<T> {
    /// Where the value is, which tells it from every other.
    pub fn as_ptr(&self) -> *const T {
        std::ptr::from_ref::<T>(self)
    }

    /// Whether both are shares in one value.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        std::ptr::addr_eq(self.0.as_ptr(), other.0.as_ptr())
    }
}

impl<T: ?Sized> Deref for Share<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: alive as long as there is a share.
        unsafe { &self.0.as_ref().value }
    }
}

impl<T: ?Sized> Clone for Share<T> {
    fn clone(&self) -> Self {
        // SAFETY: alive as long as there is a share. Relaxed: the new share
        // comes of this one, which its owner has had all the time.
        unsafe { self.0.as_ref().count.fetch_add(1, Ordering::Relaxed) };
        Share(self.0)
    }
}

impl<T: ?Sized> Drop for Share<T> {
    fn drop(&mut self) {
        // SAFETY: alive as long as there is a share. Release: what was done
        // with this one comes before the value's end; pairs with the fence.
        if unsafe { self.0.as_ref().count.fetch_sub(1, Ordering::Release) } == 1 {
            fence(Ordering::Acquire);
            // SAFETY: made by `try_box`, and there are no more shares.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_share_drops_the_value() {
        let inner = std::sync::Arc::new(());
        let first = Share::new((7, inner.clone())).unwrap();
        let second = first.clone();
        assert!(first.ptr_eq(&second));
        drop(first);
        assert_eq!(std::sync::Arc::strong_count(&inner), 2);
        assert_eq!((*second).0, 7);
        drop(second);
        assert_eq!(std::sync::Arc::strong_count(&inner), 1);
    }

    #[test]
    fn a_share_can_be_seen_as_an_interface() {
        let share = Share::new(7u8).unwrap();
        let shown: Share<dyn std::fmt::Display + Send + Sync> = share.unsize(|it| it);
        assert_eq!(shown.to_string(), "7");
    }
}
