// SPDX-License-Identifier: GPL-2.0-only

//! One address space and all descriptors that its process has open: one MMU notifier for them, and
//! one spin lock.
//!
//! A change costs no more where more descriptors are open, as long as they have no regions; and
//! closing one of them waits for nothing, but where a change is being marked in its regions at this
//! very moment. The notifier goes with the last descriptor, and that is not waited for either: the
//! kernel calls back when nobody runs in it any more ([`Space::freed`]).

use crate::{
    change_mask::{Change, Rights},
    hold::{Hold, Timed},
    members::{List, Member, ALL, WATCHING},
    notifier::Notifier,
    regions::Regions,
    registry::{self, Registry},
};
use core::ops::{Deref, DerefMut};
use kernel::{
    mm::Mm,
    new_condvar, new_mutex, new_spinlock,
    prelude::*,
    sync::{aref::ARef, global_lock, Arc, CondVar, Mutex, SpinLock},
};

/// Regions or events handled before the spin lock is let go for a moment.
pub(crate) const STEP: u32 = 256;

global_lock! {
    // SAFETY: `init` is called before there is a device.
    unsafe(uninit) static SPACES: Mutex<Registry<usize, Space>> = Registry::new();
}

/// To be called once, before there is a device.
pub(crate) fn init() {
    // SAFETY: The caller promises that this is the first and only call.
    unsafe { SPACES.init() };
}

/// What the spin lock protects, besides the regions of all members.
pub(crate) struct Changes {
    all: List<ALL>,
    watching: List<WATCHING>,
    /// Changes under way: begun, and not ended yet.
    in_flight: u32,
    /// Whether a region was added since all of those began.
    added_in_flight: bool,
    /// Invalidations that let go of the lock half way. No region is added meanwhile, so that they
    /// come to an end whatever the client does.
    marking: u32,
}

/// An address space that descriptors are open in.
#[pin_data]
pub(crate) struct Space {
    pub(crate) notifier: Notifier,
    /// `mm_count` is held: the structure stays, its memory does not. So its address names it.
    owner: ARef<Mm>,
    /// Whether the notifier is registered.
    #[pin]
    registered: Mutex<bool>,
    #[pin]
    changes: SpinLock<Timed<Changes>>,
    /// MONITOR waits here for large invalidations to finish, close for a member's last use.
    #[pin]
    settled: CondVar,
}

type Guard<'a> = Hold<'a, Changes>;

/// The lock of an address space, held to get at the regions of one of its members.
pub(crate) struct Locked<'a> {
    member: &'a Member,
    changes: Guard<'a>,
}

impl Locked<'_> {
    /// `count` regions were added since the lock was taken.
    #[inline(always)]
    pub(crate) fn added(&mut self, count: u32) {
        if count > 0 {
            let changes = &mut *self.changes;
            changes.added_in_flight |= changes.in_flight > 0;
            // SAFETY: The lock is held, and its list is the only one for this link. A member leaves
            // all lists before it goes.
            unsafe { changes.watching.add(self.member) };
        }
    }
}

impl Deref for Locked<'_> {
    type Target = Regions;

    fn deref(&self) -> &Regions {
        // SAFETY: The lock is held, and borrowed for as long as the reference lives.
        unsafe { self.member.regions() }
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Regions {
        // SAFETY: As above, and exclusively.
        unsafe { self.member.regions() }
    }
}

impl Changes {
    /// A change ends. Returns whether there may be regions that were added since it began; if not,
    /// the marking that was done then was all there is to do.
    ///
    /// Does not depend on the kernel's pairing: an end more than there were beginnings leaves too
    /// few in flight, and once there are none left every further end answers yes.
    fn end(&mut self) -> bool {
        if self.in_flight == 0 {
            return true;
        }
        let added = self.added_in_flight;
        self.in_flight -= 1;
        if self.in_flight == 0 {
            self.added_in_flight = false;
        }
        added
    }
}

/// A range of addresses that changes, ends included, and how.
#[derive(Clone, Copy)]
pub(crate) struct Changing {
    pub(crate) start: u64,
    pub(crate) last: u64,
    pub(crate) change: Change,
}

impl Space {
    fn new(owner: ARef<Mm>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                notifier: Notifier::new(),
                owner,
                registered <- new_mutex!(false, "kdreg::registered"),
                changes <- new_spinlock!(Timed::new(Changes {
                    all: List::new(),
                    watching: List::new(),
                    in_flight: 0,
                    added_in_flight: false,
                    marking: 0,
                }), "kdreg::changes"),
                settled <- new_condvar!("kdreg::settled"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    pub(crate) fn owner(&self) -> &ARef<Mm> {
        &self.owner
    }

    #[inline(always)]
    fn hold(&self) -> Guard<'_> {
        Hold::take(&self.changes)
    }

    /// The longest that the spin lock was held, in nanoseconds, where that is measured.
    pub(crate) fn longest_hold(&self) -> u64 {
        self.hold().longest()
    }

    // --- Members ---------------------------------------------------------------------------

    /// The lock, and the regions of a member.
    ///
    /// # Safety
    ///
    /// The member is one of this address space.
    #[inline(always)]
    pub(crate) unsafe fn lock<'a>(&'a self, member: &'a Member) -> Locked<'a> {
        Locked {
            member,
            changes: self.hold(),
        }
    }

    /// The same at a moment when regions can be added.
    ///
    /// # Safety
    ///
    /// As for [`Space::lock`].
    #[inline(always)]
    pub(crate) unsafe fn lock_settled<'a>(&'a self, member: &'a Member) -> Locked<'a> {
        let mut changes = self.hold();
        // An invalidation that does not hold the lock is on its way through many regions. It needs
        // nothing from us and takes no longer than they are many. None begins while we hold it.
        while changes.marking > 0 {
            changes.wait(&self.settled);
        }
        Locked { member, changes }
    }

    /// Takes a member in.
    ///
    /// # Safety
    ///
    /// The member stays where it is until [`Space::leave`], which is called before it goes.
    pub(crate) unsafe fn join(&self, member: &Member) {
        // SAFETY: The lock is held, and its list is the only one for this link; the caller promises
        // the rest.
        unsafe { self.hold().all.add(member) };
    }

    /// Lets a member go: when this returns, nobody uses it any more. May sleep while one of its
    /// changes is being marked, which waits for nobody.
    pub(crate) fn leave(&self, member: &Member) {
        let mut changes = self.hold();
        member.set_leaving();
        while member.is_pinned() {
            changes.wait(&self.settled);
        }
        // SAFETY: The lock is held, and its lists are the only ones.
        unsafe {
            changes.watching.remove(member);
            changes.all.remove(member);
        }
    }

    // --- Notifier --------------------------------------------------------------------------

    /// Starts to listen, unless this is done. The caller is the owner. May sleep.
    pub(crate) fn listen(self: &Arc<Self>) -> Result {
        let mut registered = self.registered.lock();
        if *registered {
            return Ok(());
        }
        let task = current!();
        let mm = task.mm().ok_or(EIO)?;
        // The notifier holds its address space until it is freed.
        let held = Arc::into_raw(self.clone());
        // SAFETY: The notifier is that of a pinned `Space`, of which a reference was just set
        // aside; it is not registered, and the mutex is held.
        if let Err(err) = unsafe { self.notifier.register(mm) } {
            // SAFETY: Nobody took over the reference from above.
            drop(unsafe { Arc::from_raw(held) });
            return Err(err);
        }
        *registered = true;
        Ok(())
    }

    /// Stops listening. There is no member, and none will come. Does not wait.
    fn stop(&self) {
        if *self.registered.lock() {
            // SAFETY: It was registered, and this is called once, by whoever took the address
            // space out of the registry.
            unsafe { self.notifier.put() };
        }
    }

    /// The notifier is not used any more.
    ///
    /// # Safety
    ///
    /// Called once, when the kernel has given up a notifier that [`Space::listen`] registered; `this`
    /// is the address space around it.
    pub(crate) unsafe fn freed(this: *const Self) {
        // SAFETY: This is the reference that `listen` set aside.
        drop(unsafe { Arc::from_raw(this) });
    }

    // --- Changes ---------------------------------------------------------------------------

    /// A change begins: marks the regions that are there. `rights` says what a change of protection
    /// leaves, and is asked only where that matters. See [`Space::mark`].
    pub(crate) fn begin_change(&self, changing: Changing, rights: impl FnOnce() -> Rights) {
        let mut changes = self.hold();
        changes.in_flight += 1;
        self.mark(changes, changing, rights);
    }

    /// A change has been made: marks the regions that were added while it was, which may have been
    /// registered with pages that are gone now. See [`Space::mark`].
    pub(crate) fn end_change(&self, changing: Changing, rights: impl FnOnce() -> Rights) {
        let mut changes = self.hold();
        if changes.end() {
            self.mark(changes, changing, rights);
        }
    }

    /// Marks every region that overlaps the range and that the change concerns. When this returns,
    /// their words have changed.
    ///
    /// Called by the notifier with memory-management locks held, possibly in reclaim and possibly
    /// where sleeping is not allowed. Does not sleep, and depends on nobody who might.
    #[inline(always)]
    fn mark<'a>(
        &'a self,
        mut changes: Guard<'a>,
        mut changing: Changing,
        rights: impl FnOnce() -> Rights,
    ) {
        let mut rights = Some(rights);
        let mut settled = false;
        let mut next = changes.watching.first();
        while let Some(member) = next {
            // SAFETY: Members in the list are alive. This one stays there while the lock is held or
            // it is pinned.
            let member = unsafe { member.as_ref() };
            // SAFETY: The lock is held.
            let regions = unsafe { member.regions() };
            if regions.is_idle() {
                next = changes.watching.next(member);
                if !member.is_pinned() {
                    // SAFETY: The lock is held, and this is its list.
                    unsafe { changes.watching.remove(member) };
                }
                continue;
            }
            if changing.change.is_of_protection() && regions.are_discerning() {
                // What it says holds for all members, as the mapping does not change meanwhile.
                if let Some(rights) = rights.take() {
                    changing.change = changing.change.leaves(rights());
                }
            }
            let marked = regions.mark(&changing, STEP);
            if marked > 0 {
                (changes, settled) = self.mark_on(changes, member, &changing, marked, settled);
            }
            next = changes.watching.next(member);
        }
        drop(changes);
        if settled {
            self.settled.notify_all();
        }
    }

    /// Goes on with a member of which `marked` regions were marked: with the rest of them, and with
    /// those who wait for events. Lets go of the lock meanwhile. `settled`: somebody is to be woken
    /// at the end.
    #[inline(never)]
    fn mark_on<'a>(
        &'a self,
        mut changes: Guard<'a>,
        member: &Member,
        changing: &Changing,
        mut marked: u32,
        mut settled: bool,
    ) -> (Guard<'a>, bool) {
        member.pin();
        if marked == STEP {
            // Many: let others have the lock now and then. What has been marked is out of the trees
            // and nothing is added meanwhile, so this ends.
            changes.marking += 1;
            while marked == STEP {
                drop(changes);
                changes = self.hold();
                // SAFETY: The lock is held, and the member is pinned.
                marked = unsafe { member.regions() }.mark(changing, STEP);
            }
            changes.marking -= 1;
            settled |= changes.marking == 0;
        }
        drop(changes);
        member.events.wake();
        let changes = self.hold();
        settled |= member.unpin();
        (changes, settled)
    }

    /// The owner's address space is being torn down: no task is left in it that could read an
    /// event or look at a word. Gives the memory of all members back. May sleep.
    pub(crate) fn owner_gone(&self) {
        let mut settled = false;
        let mut changes = self.hold();
        let mut next = changes.all.first();
        while let Some(member) = next {
            // SAFETY: Members in the list are alive. This one stays there while the lock is held or
            // it is pinned.
            let member = unsafe { member.as_ref() };
            // SAFETY: The lock is held.
            let chunks = unsafe { member.regions() }.take_chunks();
            member.pin();
            drop(changes);
            drop(chunks);
            member.status.owner_gone();
            changes = self.hold();
            settled |= member.unpin();
            next = changes.all.next(member);
        }
        drop(changes);
        if settled {
            self.settled.notify_all();
        }
    }
}

/// An address space held by one descriptor.
pub(crate) struct Holder(Arc<Space>);

impl Holder {
    /// That of the current process, which is its owner. May sleep, but takes no lock of memory
    /// management.
    pub(crate) fn of_current() -> Result<Self> {
        // A kernel thread has no memory to monitor.
        let owner: ARef<Mm> = ARef::from(&**current!().mm().ok_or(EINVAL)?);
        let key = owner.as_raw() as usize;
        // Not inside an `if let`, which would keep the lock.
        let known = SPACES.lock().hold(&key);
        if let Some(space) = known {
            return Ok(Self(space));
        }
        let space = Space::new(owner)?;
        let entry = registry::entry(key, space.clone())?;
        let mut spaces = SPACES.lock();
        let other = spaces.hold(&key);
        let unused = match &other {
            // Another thread was faster.
            Some(_) => Some(entry),
            None => spaces.add(entry),
        };
        drop(spaces);
        drop(unused);
        Ok(Self(other.unwrap_or(space)))
    }
}

impl Deref for Holder {
    type Target = Arc<Space>;

    fn deref(&self) -> &Arc<Space> {
        &self.0
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let key = self.0.owner.as_raw() as usize;
        // Not inside an `if let`, which would keep the lock.
        let last = SPACES.lock().release(&key);
        if let Some(entry) = last {
            self.0.stop();
            drop(entry);
        }
    }
}
