// SPDX-License-Identifier: GPL-2.0-only

//! One address space and all descriptors that its process has open: one MMU notifier for them, and
//! one spin lock.
//!
//! A change costs no more where more descriptors are open, as long as they have no regions; and
//! closing one of them waits for nothing, but for a walk of the notifier that has let go of the lock
//! at just this one, to the end of that walk. The notifier goes with the last descriptor, and that
//! is not waited for either: the kernel calls back when nobody runs in it any more
//! ([`Space::freed`]).

use crate::{
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
    pub(crate) all: List<ALL>,
    pub(crate) watching: List<WATCHING>,
    /// Changes under way: begun, and not ended yet.
    pub(crate) in_flight: u32,
    /// Whether a region was added since all of those began.
    pub(crate) added_in_flight: bool,
    /// Invalidations that let go of the lock half way. No region is added meanwhile, so that they
    /// come to an end whatever the client does.
    pub(crate) marking: u32,
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
    pub(crate) settled: CondVar,
}

pub(crate) type Guard<'a> = Hold<'a, Changes>;

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
    pub(crate) fn hold(&self) -> Guard<'_> {
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

    /// Lets a member go: when this returns, nobody uses it any more. May sleep until the end of a
    /// walk of the notifier that has let go of the lock at this member; that waits for nobody.
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
