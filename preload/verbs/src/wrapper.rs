// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs get for a cached registration: an `ibv_mr` of their own, with
//! the address and length that they asked for and the keys of one that is
//! shared.
//!
//! They live in one reservation, so that an `ibv_mr` that comes back from a
//! program is known by its address: a real one is never looked into.

use crate::abi::ibv_mr;
use crate::domain::Domain;
use crate::kdreg::kdreg_entry_t;
use crate::registration::Registration;
use crate::reserved::Reserved;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// As many as can be held at a time; what goes beyond is passed through.
const CAPACITY: usize = 1 << 20;

/// Nobody has it.
const FREE: u32 = 0;
/// A program has it.
const HELD: u32 = 1;
/// A call is changing it.
const TAKEN: u32 = 2;

/// A program's `ibv_mr`, and what is behind it.
#[repr(C, align(64))]
pub struct Wrapper {
    /// What the program sees. First, as its address is the wrapper's.
    pub mr: ibv_mr,
    /// FREE, HELD or TAKEN. Whoever changes it from HELD to TAKEN (Acquire)
    /// owns the rest until it stores one of the others (Release).
    state: AtomicU32,
    /// The flags that it was registered with.
    pub access: u32,
    pub backing: Option<Backing>,
}

// SAFETY: whoever made it TAKEN has it alone; `mr` is the program's to read
// meanwhile, as libibverbs's own would be.
unsafe impl Sync for Wrapper {}

/// What keeps the memory registered.
pub enum Backing {
    /// An entry of a cache, which others may have too: the card only reads.
    Shared(&'static Domain, *mut kdreg_entry_t),
    /// An entry of a cache that is held for this one alone.
    Sole(&'static Domain, *mut kdreg_entry_t, &'static Registration),
    /// A registration of this program's alone.
    Own(*mut ibv_mr),
}

// SAFETY: zero is a free wrapper: null pointers, numbers, and no backing (what
// is read of one that was never handed out is `state` alone).
static PLACES: Reserved<Wrapper, CAPACITY> = unsafe { Reserved::new() };

/// Protects the numbers of wrappers that are free: those given back, and the
/// first that was never used.
static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers {
    back: Vec::new(),
    fresh: 0,
});

struct Numbers {
    back: Vec<usize>,
    fresh: usize,
}

impl Numbers {
    /// Whether one more can be handed out, and none needs memory to come back.
    fn has_room(&mut self) -> bool {
        let all = self.fresh + 1;
        self.back.try_reserve(all - self.back.len()).is_ok()
    }
}

impl Wrapper {
    /// A wrapper for a program; `None` when there are no more.
    pub fn hand_out(mr: ibv_mr, access: u32, backing: Backing) -> Result<*mut ibv_mr, Backing> {
        let Some(base) = PLACES.base() else {
            return Err(backing);
        };
        let number = {
            let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
            match numbers.back.pop() {
                Some(number) => number,
                // With room for it and all before it to come back to.
                None if numbers.fresh < CAPACITY && numbers.has_room() => {
                    numbers.fresh += 1;
                    numbers.fresh - 1
                }
                None => return Err(backing),
            }
        };
        // SAFETY: inside the reservation, and nobody else has this number:
        // what is there is zero, or was taken apart by `give_back`.
        unsafe {
            let place = base.add(number);
            place.write(Wrapper {
                mr,
                state: AtomicU32::new(FREE),
                access,
                backing: Some(backing),
            });
            (*place).state.store(HELD, Ordering::Release);
            Ok(place.cast())
        }
    }

    /// Whether an `ibv_mr` is a wrapper: `None` when it is libibverbs's own.
    pub fn of(mr: *mut ibv_mr) -> Option<NonNull<Wrapper>> {
        let base = PLACES.known();
        if base.is_null() {
            return None;
        }
        let offset = (mr as usize).checked_sub(base as usize)?;
        if offset >= CAPACITY * size_of::<Wrapper>() || offset % size_of::<Wrapper>() != 0 {
            return None;
        }
        NonNull::new(mr.cast())
    }

    /// Makes a wrapper the caller's alone; `None` when no program has it, as
    /// when it is deregistered twice.
    pub fn take<'a>(this: NonNull<Wrapper>) -> Option<&'a mut Wrapper> {
        // SAFETY: `of` found it in the reservation, where everything is a
        // wrapper or zero, which is a free one as far as `state` goes.
        let state = unsafe { &(*this.as_ptr()).state };
        // Acquire: pairs with the Release of whoever handed it out.
        let taken = state.compare_exchange(HELD, TAKEN, Ordering::Acquire, Ordering::Relaxed);
        // SAFETY: TAKEN makes it this caller's.
        taken.ok().map(|_| unsafe { &mut *this.as_ptr() })
    }

    /// Back to the program, after `take`.
    pub fn keep(&mut self) {
        self.state.store(HELD, Ordering::Release);
    }

    /// Free again, after `take`, and after its backing was taken.
    pub fn give_back(&mut self) {
        let number =
            (std::ptr::from_mut(self) as usize - PLACES.known() as usize) / size_of::<Wrapper>();
        self.state.store(FREE, Ordering::Release);
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.back.push(number);
    }
}

/// What a program sees of a shared registration: `real`'s keys, its own range.
pub fn seen(real: &ibv_mr, addr: *mut c_void, length: usize) -> ibv_mr {
    ibv_mr {
        addr,
        length,
        ..*real
    }
}
