// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who calls `ibv_reg_mr_iova2`: a program that was linked with libibverbs, or
//! libibverbs itself.
//!
//! libibverbs's `ibv_reg_mr` and `ibv_reg_mr_iova` end in a jump to
//! `ibv_reg_mr_iova2` by its public name, which is this library's. So it is
//! called too for those that fetched the real `ibv_reg_mr` by
//! `dlsym(handle, ...)`. They will give what they get to the real
//! `ibv_dereg_mr`, fetched in the same way, and so must get a real `ibv_mr`.
//! They are known by this: the object that is returned to does not name
//! libibverbs among the libraries it needs.

use crate::objects;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many callers are remembered.
const PLACES: usize = 64;

/// Return addresses that were judged: of objects that are linked with
/// libibverbs, and of others. Relaxed: each is a fact by itself.
static LINKED: [AtomicUsize; PLACES] = [const { AtomicUsize::new(0) }; PLACES];
static FOREIGN: [AtomicUsize; PLACES] = [const { AtomicUsize::new(0) }; PLACES];

/// Whether the code at `address` is part of an object that is linked with
/// libibverbs.
pub fn is_linked(address: usize) -> bool {
    let place = (address ^ address >> 6) % PLACES;
    if LINKED[place].load(Ordering::Relaxed) == address {
        return true;
    }
    if FOREIGN[place].load(Ordering::Relaxed) == address {
        return false;
    }
    let linked = objects::find(|object| {
        object
            .has(address)
            .then(|| object.needs(c"libibverbs.so.1"))
    })
    .unwrap_or(false);
    let table = if linked { &LINKED } else { &FOREIGN };
    table[place].store(address, Ordering::Relaxed);
    linked
}
