// SPDX-License-Identifier: MIT OR Apache-2.0
//! The threads that own entries, and whether they are at one this moment.
//!
//! An entry's owner counts its references on it with plain loads and stores
//! (`cache::refs`). It may do so while the entry says that it is the owner; whoever
//! takes that away must know that it is not about to count all the same. So
//! the owner says where it is, as with a hazard pointer, and looks again:
//!
//! ```text
//! owner                                whoever ends the ownership
//!   inside = entry                       entry.owner = CLOSED
//!   light fence                          heavy fence
//!   entry.owner is me?  -> count         while inside == entry: wait
//!   inside = 0                           the count is final
//! ```
//! Either the owner's second look comes after the heavy fence, and it sees
//! `CLOSED`, or its `inside` comes before, and is seen and waited for.
//!
//! # Who is an owner
//! Threads are told apart by their thread pointer: one load or move, without
//! the call that thread-local storage costs in a shared object. No two living
//! threads have the same one. A thread that gets the thread pointer of one
//! that is gone may go on in its name: what is needed is not that an owner is
//! always the same thread, but that its steps never run side by side, and the
//! C library hands out a dead thread's stack only once that thread is through.

use crate::sync::{AtomicUsize, OWNERS, Ordering, light, pause};

/// One thread's line, and the one that processors fetch with it. All zero:
/// nobody's.
#[repr(align(128))]
pub(crate) struct Owner {
    /// Its thread pointer; 0: no thread, and no thread has this one.
    pub(crate) identity: AtomicUsize,
    /// The address of the entry it is at; 0: none.
    pub(crate) inside: AtomicUsize,
}

impl Owner {
    #[inline(always)]
    pub(crate) fn identity(&self) -> usize {
        // Relaxed: who finds its own identity has stored it itself, or goes on
        // for who did.
        self.identity.load(Ordering::Relaxed)
    }

    /// Makes the calling thread the owner of this line, or nobody (0).
    pub(crate) fn set(&self, identity: usize) {
        self.identity.store(identity, Ordering::Relaxed);
    }

    /// The owner is at an entry from here on, until `leave`.
    #[inline(always)]
    pub(crate) fn enter(&self, entry: usize) {
        // `wait_out` for the entry before this one may see this store and not
        // the one of `leave`: that, too, must tell it what was counted.
        // A processor needs nothing for it, since both go to one place, and
        // `leave` comes after the count.
        light();
        self.inside.store(entry, Ordering::Relaxed);
        // Pairs with the heavy fence before `wait_out`.
        light();
    }

    #[inline(always)]
    pub(crate) fn leave(&self) {
        // Release: pairs with the Acquire in `wait_out`, which then sees what
        // was counted.
        self.inside.store(0, Ordering::Release);
    }

    /// Waits until the owner is elsewhere. Only a handful of instructions are
    /// waited for, unless the owner was interrupted among them.
    pub(crate) fn wait_out(&self, entry: usize) {
        let mut round = 0;
        while self.inside.load(Ordering::Acquire) == entry {
            pause(round);
            round += 1;
        }
    }
}

/// All lines, by number. Some numbers are never a thread's (0 and 255
/// in an entry say that it has no owner): their identity stays 0.
pub(crate) struct Owners(pub(crate) [Owner; OWNERS]);

impl Owners {
    #[inline(always)]
    pub(crate) fn of(&self, number: u8) -> &Owner {
        &self.0[usize::from(number) % OWNERS]
    }
}

/// The calling thread as an owner: where the owners are, and its identity. Not
/// to be kept across a callback, which may come back in another thread.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub owners: &'a Owners,
    pub identity: usize,
}

impl Caller<'_> {
    /// Whether the caller is the owner of this number.
    #[inline(always)]
    pub(crate) fn is(self, number: u8) -> bool {
        self.owners.of(number).identity() == self.identity
    }
}
