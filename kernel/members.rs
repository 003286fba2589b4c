// SPDX-License-Identifier: GPL-2.0-only

//! What the descriptors of one address space are to it: lists of members, whose regions the lock of
//! the address space protects.

use crate::{regions::Regions, status::Status, waiters::Waiters};
use core::{
    cell::{Cell, UnsafeCell},
    marker::PhantomPinned,
    ptr::{null, NonNull},
};
use kernel::{prelude::*, sync::Arc};

/// The list of all members.
pub(crate) const ALL: usize = 0;
/// The list of those that a change may concern: all that have regions, and some that had.
pub(crate) const WATCHING: usize = 1;

/// A place in a list.
struct Link {
    linked: Cell<bool>,
    previous: Cell<*const Member>,
    next: Cell<*const Member>,
}

impl Link {
    const fn new() -> Self {
        Self {
            linked: Cell::new(false),
            previous: Cell::new(null()),
            next: Cell::new(null()),
        }
    }
}

/// One descriptor, as its address space knows it. All but `events` and `status` is accessed under
/// the lock of the address space alone.
///
/// # Invariants
///
/// While it is in a list it stays where it is.
#[pin_data]
pub(crate) struct Member {
    links: [Link; 2],
    regions: UnsafeCell<Regions>,
    /// How many use it that have let go of the lock for a moment.
    pins: Cell<u32>,
    /// Whether somebody waits for the last of these.
    leaving: Cell<bool>,
    /// Readers and pollers wait here for events.
    #[pin]
    pub(crate) events: Waiters,
    pub(crate) status: Arc<Status>,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: Nothing of it is bound to a thread.
unsafe impl Send for Member {}
// SAFETY: What is not protected by the lock (see the type) is `Sync` itself.
unsafe impl Sync for Member {}

impl Member {
    /// A member that is in no list yet.
    pub(crate) fn new(regions: Regions, status: Arc<Status>) -> impl PinInit<Self> {
        pin_init!(Self {
            links: [const { Link::new() }; 2],
            regions: UnsafeCell::new(regions),
            pins: Cell::new(0),
            leaving: Cell::new(false),
            events <- Waiters::new(),
            status,
            _pinned: PhantomPinned,
        })
    }

    /// The regions, for whoever holds the lock.
    ///
    /// # Safety
    ///
    /// The lock of the address space is held for `'a`, and nobody else who holds it on behalf of
    /// the same thread has a reference to them.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn regions<'a>(&'a self) -> &'a mut Regions {
        // SAFETY: The caller promises that the access is exclusive.
        unsafe { &mut *self.regions.get() }
    }

    /// Keeps the member in its lists while the lock is let go of. The lock is held.
    pub(crate) fn pin(&self) {
        self.pins.set(self.pins.get() + 1);
    }

    /// Undoes [`Member::pin`]. Returns whether somebody waits for that. The lock is held.
    pub(crate) fn unpin(&self) -> bool {
        self.pins.set(self.pins.get() - 1);
        self.pins.get() == 0 && self.leaving.get()
    }

    /// Whether it is to stay in its lists for now. The lock is held.
    pub(crate) fn is_pinned(&self) -> bool {
        self.pins.get() > 0
    }

    /// Somebody waits until it is not pinned any more. The lock is held.
    pub(crate) fn set_leaving(&self) {
        self.leaving.set(true);
    }
}

/// A list of members by one of their links.
///
/// # Invariants
///
/// Every member in it is alive, and its link says where it is in this list and in no other.
pub(crate) struct List<const LINK: usize> {
    first: *const Member,
}

// SAFETY: Members are not bound to a thread.
unsafe impl<const LINK: usize> Send for List<LINK> {}

impl<const LINK: usize> List<LINK> {
    pub(crate) const fn new() -> Self {
        // INVARIANT: There is no member in it.
        Self { first: null() }
    }

    pub(crate) fn first(&self) -> Option<NonNull<Member>> {
        NonNull::new(self.first.cast_mut())
    }

    /// The member after one that is in the list.
    pub(crate) fn next(&self, member: &Member) -> Option<NonNull<Member>> {
        NonNull::new(member.links[LINK].next.get().cast_mut())
    }

    /// Puts a member at the front, unless it is in the list.
    ///
    /// # Safety
    ///
    /// The lock is held, under which this list is protected; it is the only one whose members have
    /// this link in it; and the member is removed before it is freed.
    #[inline(always)]
    pub(crate) unsafe fn add(&mut self, member: &Member) {
        let link = &member.links[LINK];
        if link.linked.replace(true) {
            return;
        }
        link.previous.set(null());
        link.next.set(self.first);
        // SAFETY: By the type invariants the first one, if there is one, is alive.
        if let Some(first) = unsafe { self.first.as_ref() } {
            first.links[LINK].previous.set(member);
        }
        // INVARIANT: The caller promises that the member lives while it is in the list.
        self.first = member;
    }

    /// Takes a member out, if it is in.
    ///
    /// # Safety
    ///
    /// The lock is held, under which this list is protected, and the member is in no other by this
    /// link.
    pub(crate) unsafe fn remove(&mut self, member: &Member) {
        let link = &member.links[LINK];
        if !link.linked.replace(false) {
            return;
        }
        let (previous, next) = (link.previous.get(), link.next.get());
        // SAFETY: By the type invariants neighbours are alive.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.links[LINK].next.set(next),
            None => self.first = next,
        }
        // SAFETY: As above.
        if let Some(next) = unsafe { next.as_ref() } {
            next.links[LINK].previous.set(previous);
        }
    }
}
