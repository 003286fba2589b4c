// SPDX-License-Identifier: MIT OR Apache-2.0
//! Structures that start with their size, so that they can grow.
//!
//! A caller built against an older header passes a smaller structure: what it
//! lacks is zero. One built against a newer header passes a larger one: what
//! this library does not know must be zero, or it would be ignored silently.

use super::boundary::readable;
use crate::errno::Errno;

/// No structure of this library is, or will be, larger.
const LARGEST: usize = 4096;

/// C structures whose first member is `size_t size`.
///
/// # Safety
/// `repr(C)`, plain data for which all zero bits are valid, without padding
/// that matters, first member as said.
pub(crate) unsafe trait Sized_: Copy {
    /// The size of the first version of the structure.
    const FIRST: usize;
}

/// The size that the caller wrote at the start of its structure.
fn size_of_callers<T: Sized_>(structure: *const T) -> Result<usize, Errno> {
    readable(structure)?;
    // SAFETY: not null and aligned; the caller owns at least a size_t there.
    let size = unsafe { structure.cast::<usize>().read() };
    if (T::FIRST..=LARGEST).contains(&size) {
        Ok(size)
    } else {
        Err(Errno::EINVAL)
    }
}

/// A copy of the caller's structure in this library's size.
pub(crate) fn read<T: Sized_>(structure: *const T) -> Result<T, Errno> {
    let size = size_of_callers(structure)?;
    let bytes = structure.cast::<u8>();
    let known = size.min(size_of::<T>());
    // SAFETY: the caller says that `size` bytes are there; T is plain data for
    // which zero is valid, and no more than its size is written.
    unsafe {
        for offset in known..size {
            if bytes.add(offset).read() != 0 {
                return Err(Errno::EINVAL);
            }
        }
        let mut copy: T = std::mem::zeroed();
        std::ptr::copy_nonoverlapping(bytes, (&raw mut copy).cast::<u8>(), known);
        Ok(copy)
    }
}

/// Fills the caller's structure as far as it goes; its size becomes what was
/// filled. `value` is only made when the structure is good.
pub(crate) fn fill<T: Sized_>(
    structure: *mut T,
    value: impl FnOnce() -> Result<T, Errno>,
) -> Result<(), Errno> {
    let size = size_of_callers(structure.cast_const())?.min(size_of::<T>());
    let value = value()?;
    // SAFETY: the caller says that its structure has at least `size` bytes.
    unsafe {
        std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), structure.cast(), size);
        structure.cast::<usize>().write(size);
    }
    Ok(())
}
