// SPDX-License-Identifier: MIT OR Apache-2.0
//! Address space that is reserved and not locked.
//!
//! In a process that has called mlockall(MCL_FUTURE) whatever is mapped counts
//! as locked, what is inaccessible included, and against `RLIMIT_MEMLOCK`. What
//! is reserved here and hardly ever used is not to take that from the
//! application, nor to fail for it: it is unlocked at once, and where it does
//! not fit at once, it is reserved piece by piece.

use crate::errno::Errno;
use crate::log::{self, Level};
use crate::range::page_size;
use std::ptr::NonNull;

/// What is reserved at a time where not all of it can be.
const PIECE: usize = 1 << 20;

/// How far below one place the next is tried, when something is in the way.
const STRIDE: usize = 1 << 30;

/// How many places are tried.
const PLACES: usize = 16;

/// Reserves `length` bytes, whole pages, inaccessible and not locked.
pub(super) fn reserve(length: usize) -> Result<NonNull<libc::c_void>, Errno> {
    match map(0, length, 0) {
        Ok(address) => {
            unlock(address, length);
            place(address)
        }
        // Locked memory, and more of it than there may be.
        Err(Errno::EAGAIN) => in_pieces(length),
        Err(error) => Err(error),
    }
}

fn place(address: usize) -> Result<NonNull<libc::c_void>, Errno> {
    NonNull::new(address as *mut libc::c_void).ok_or(Errno::ENOMEM)
}

fn map(address: usize, length: usize, flags: libc::c_int) -> Result<usize, Errno> {
    // SAFETY: a new private anonymous mapping that replaces none (at an address
    // of the kernel's choosing, or by MAP_FIXED_NOREPLACE).
    let mapped = unsafe {
        libc::mmap(
            address as *mut libc::c_void,
            length,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | flags,
            -1,
            0,
        )
    };
    if mapped == libc::MAP_FAILED {
        Err(Errno::last())
    } else {
        Ok(mapped as usize)
    }
}

fn unmap(address: usize, length: usize) {
    if length > 0 {
        // SAFETY: mapped just now, and nobody else knows of it.
        unsafe { libc::munmap(address as *mut libc::c_void, length) };
    }
}

fn unlock(address: usize, length: usize) {
    // SAFETY: our own mapping, of which nothing is in memory.
    unsafe { libc::munlock(address as *const libc::c_void, length) };
}

/// As `reserve`, where `length` at once is more than may be locked.
#[cold]
fn in_pieces(length: usize) -> Result<NonNull<libc::c_void>, Errno> {
    let mut piece = PIECE.min(length);
    let mut hint = 0;
    for _ in 0..PLACES {
        let (low, error) = match downwards_from(hint, length, &mut piece) {
            Ok(address) => return place(address),
            Err(failure) => failure,
        };
        if error != Errno::EEXIST {
            if error == Errno::EAGAIN {
                log::say(
                    Level::Warn,
                    format_args!(
                        "no address space: mlockall(MCL_FUTURE) locks what is mapped, and \
                         RLIMIT_MEMLOCK leaves no room even for a page"
                    ),
                );
                return Err(Errno::ENOMEM);
            }
            return Err(error);
        }
        hint = low.saturating_sub(STRIDE) & !(page_size() - 1);
    }
    Err(Errno::ENOMEM)
}

/// Reserves `length` bytes from `hint` downwards, which is where the kernel
/// leaves room. On failure, how far it came, and nothing is reserved.
fn downwards_from(hint: usize, length: usize, piece: &mut usize) -> Result<usize, (usize, Errno)> {
    let (mut low, mut have) = (hint, 0);
    while have < length {
        let step = (*piece).min(length - have);
        let (wanted, flags) = if have == 0 {
            (hint, 0)
        } else {
            (low - step, libc::MAP_FIXED_NOREPLACE)
        };
        let mapped = match map(wanted, step, flags) {
            // Kernels before 4.17 do not know the flag, and go elsewhere.
            Ok(address) if have > 0 && address != wanted => {
                unmap(address, step);
                Err(Errno::EEXIST)
            }
            other => other,
        };
        match mapped {
            Ok(address) => {
                unlock(address, step);
                low = address;
                have += step;
            }
            Err(Errno::EAGAIN) if *piece > page_size() => {
                *piece = (*piece / 2).next_multiple_of(page_size());
            }
            Err(error) => {
                unmap(low, have);
                return Err((low, error));
            }
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_one_mapping() {
        let length = 5 * PIECE + 3 * page_size();
        // Other tests map and unmap in the same places meanwhile.
        let reserved = (0..100).find_map(|_| in_pieces(length).ok());
        let address = reserved.unwrap().as_ptr() as usize;
        // SAFETY: our own mapping.
        let usable = unsafe {
            libc::mprotect(
                address as *mut libc::c_void,
                length,
                libc::PROT_READ | libc::PROT_WRITE,
            )
        };
        assert_eq!(usable, 0);
        unmap(address, length);
    }
}
