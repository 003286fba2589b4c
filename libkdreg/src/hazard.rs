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
//! # Shared entries
//! An entry that several threads use in turn may be shared: each of them counts
//! for itself, on its own line, in the place that the entry was lent, and says
//! where it is as an owner does. Whoever ends that looks at every line, as it
//! would at the owner's. Nothing passes between those that count, so they need
//! no order among themselves.
//!
//! A place belongs to one entry of the process from `lend` to `give_back`, and
//! its counts are 0 on every line at both times. They are the line's: a thread
//! that gets the number of one that is gone goes on with them.
//!
//! # Who is an owner
//! Threads are told apart by their thread pointer: one load or move, without
//! the call that thread-local storage costs in a shared object. No two living
//! threads have the same one. A thread that gets the thread pointer of one
//! that is gone may go on in its name: what is needed is not that an owner is
//! always the same thread, but that its steps never run side by side, and the
//! C library hands out a dead thread's stack only once that thread is through.

use crate::sync::{AtomicU32, AtomicUsize, Me, OWNERS, Ordering, PLACES, light, pause};

/// One thread's line, and the one that processors fetch with it. All zero:
/// nobody's.
#[repr(align(128))]
pub(crate) struct Owner {
    /// Its thread pointer; 0: no thread, and no thread has this one.
    pub(crate) identity: AtomicUsize,
    /// The address of the entry it is at; 0: none.
    pub(crate) inside: AtomicUsize,
    /// What it counts on shared entries, by their places.
    pub(crate) counts: [AtomicU32; PLACES],
}

impl Owner {
    #[inline(always)]
    pub(crate) fn identity(&self) -> usize {
        // Relaxed: who finds its own identity has stored it itself, or goes on
        // for who did.
        self.identity.load(Ordering::Relaxed)
    }

    /// The thread has gone, or is not in this process, a forked child:
    /// wherever it was, it does not leave by itself.
    pub(crate) fn forget(&self) {
        self.identity.store(0, Ordering::Relaxed);
        self.leave();
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

/// All lines, by number. Some numbers are never a thread's (those that say
/// in an entry that it has no owner, or many): their identity stays 0.
pub(crate) struct Owners {
    pub(crate) lines: [Owner; OWNERS],
    /// The addresses of the shared entries, by place; 0: to be lent.
    pub(crate) places: [AtomicUsize; PLACES],
    /// No number above this one has been a thread's.
    pub(crate) highest: AtomicUsize,
}

impl Owners {
    #[inline(always)]
    pub(crate) fn of(&self, number: u8) -> &Owner {
        &self.lines[usize::from(number) % OWNERS]
    }

    /// How far the line of a number is from the first one.
    #[inline(always)]
    pub(crate) fn offset_of(number: u8) -> usize {
        usize::from(number) % OWNERS * size_of::<Owner>()
    }

    /// The line at an offset.
    ///
    /// # Safety
    /// From `offset_of`.
    #[inline(always)]
    pub(crate) unsafe fn at_offset(&self, offset: usize) -> &Owner {
        // SAFETY: the caller's promise: one of the lines begins there.
        unsafe { &*self.lines.as_ptr().byte_add(offset) }
    }

    /// Makes the calling thread the owner of a line.
    pub(crate) fn appoint(&self, number: u8, identity: usize) {
        // Relaxed: what a thread counts on a shared entry comes after this, and
        // the heavy fence before `in_use` orders both.
        self.highest
            .fetch_max(usize::from(number), Ordering::Relaxed);
        self.of(number).identity.store(identity, Ordering::Relaxed);
    }

    /// No number above this one has been a thread's, of those of which anything is
    /// known here.
    pub(crate) fn highest(&self) -> usize {
        self.highest.load(Ordering::Relaxed)
    }

    /// The lines that may have counted anything. The first is nobody's.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = &Owner> {
        self.lines[1..=self.highest()].iter()
    }

    /// What all threads have counted in a place. A snapshot.
    pub(crate) fn counted(&self, place: usize) -> u64 {
        // Acquire: pairs with the Release that sets the counts to 0.
        let count = |line: &Owner| u64::from(line.counts[place].load(Ordering::Acquire));
        self.in_use().map(count).sum()
    }

    /// Whether `lend` may succeed. A snapshot.
    pub(crate) fn can_lend(&self) -> bool {
        let free = |place: &AtomicUsize| place.load(Ordering::Relaxed) == 0;
        self.places.iter().any(free)
    }

    /// A place for an entry to be counted in, if there is one.
    pub(crate) fn lend(&self, entry: usize) -> Option<usize> {
        // Acquire: pairs with the Release in `give_back`; the counts are 0.
        self.places.iter().position(|place| {
            place
                .compare_exchange(0, entry, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        })
    }

    /// The entry no longer uses its place, and has set its counts to 0.
    pub(crate) fn give_back(&self, place: usize) {
        self.places[place].store(0, Ordering::Release);
    }

    /// The addresses of the entries that are shared, beginning at some place.
    /// A snapshot.
    pub(crate) fn shared_from(&self, from: usize) -> impl Iterator<Item = usize> {
        let address = move |place: usize| self.places[place].load(Ordering::Relaxed);
        (0..PLACES)
            .cycle()
            .skip(from % PLACES)
            .take(PLACES)
            .map(address)
            .filter(|&entry| entry != 0)
    }
}

/// The calling thread as an owner: where the owners are, and who it is. Not
/// to be kept across a callback, which may come back in another thread.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub owners: &'a Owners,
    pub me: Me,
}

impl Caller<'_> {
    /// Whether the caller is the owner of this number.
    #[inline(always)]
    pub(crate) fn is(self, number: u8) -> bool {
        self.me.is(self.owners.of(number).identity())
    }
}
