// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that may not be there: `Box` for a library that must not end the
//! program it is in when an allocation fails.

use std::alloc::{Layout, alloc};

/// A box with `value` in it, which is dropped when there is no memory.
pub fn boxed<T>(value: T) -> Option<Box<T>> {
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: of nonzero size. Fresh memory of the global allocator's with T's
    // layout is what a box has.
    unsafe {
        let place = alloc(Layout::new::<T>()).cast::<T>();
        if place.is_null() {
            return None;
        }
        place.write(value);
        Some(Box::from_raw(place))
    }
}
