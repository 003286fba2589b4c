// SPDX-License-Identifier: GPL-2.0-only

//! One open descriptor.
//!
//! # Life
//!
//! * **open** notes the address space of the caller, the *owner* (a reference on `mm_count`: the
//!   structure stays, its memory does not). Everything but close and fdinfo is for the owner only.
//!   open takes no mmap lock, because the misc core holds its one mutex across it.
//! * **CONFIG_DATA**, the first time, registers the MMU notifier.
//! * **fork**: the child inherits the descriptor and the status mapping, neither of which works
//!   there. MMU notifiers are not inherited. The parent is not disturbed.
//! * **exec**: the owner's address space ends like that of a process that exits; the new image is
//!   not the owner. CLONE_VM threads and vfork() children share the address space and are.
//! * **exit** of the owner: the notifier's `release` frees all regions and events, so that an
//!   inherited descriptor holds next to nothing. From then on nobody is the owner.
//! * **close** of the last descriptor, by whichever process: unregisters the notifier, which waits
//!   for callbacks that are still running, then frees everything. Status pages that are still
//!   mapped read "changed" for ever.
//! * **rmmod** is refused by the references that open descriptors and status mappings hold on the
//!   module; as there is no deferred work, nothing else is left.

use crate::{
    abi::*,
    addresses::Addresses,
    notifier::Notifier,
    regions::{Added, Progress, Regions, Statistics},
    request::Request,
    slots::{Chunk, Slots, GENERATION_MAX},
    status::{StatePage, Status},
    wanted::{Change, Rights},
};
use kernel::{
    fs::File,
    mm::Mm,
    new_condvar, new_mutex, new_poll_condvar, new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        lock::spinlock::SpinLockGuard,
        poll::{PollCondVar, PollTable},
        Arc, CondVar, Mutex, SpinLock,
    },
};

/// Regions or events handled before the spin lock is let go for a moment.
const STEP: u32 = 1024;

/// Events that read() hands over at a time.
const READ_EVENTS: usize = 16;

/// Whether the notifier is registered.
struct Config {
    registered: bool,
}

/// One open descriptor. The locks are described in `kdreg.rs`.
#[pin_data(PinnedDrop)]
pub(crate) struct Context {
    owner: ARef<Mm>,
    status: Arc<Status>,
    /// Serialises CONFIG_DATA.
    #[pin]
    config: Mutex<Config>,
    #[pin]
    regions: SpinLock<Regions>,
    /// Readers and pollers wait here for events.
    #[pin]
    events: PollCondVar,
    /// MONITOR waits here for large invalidations to finish.
    #[pin]
    settled: CondVar,
    pub(crate) notifier: Notifier,
}

// The notifier's callbacks and system calls use a context from any thread at the same time.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Context>();
    shared::<Status>();
};

type Guard<'a> = SpinLockGuard<'a, Regions>;

impl Context {
    /// The context of a descriptor that the current process opens.
    pub(crate) fn new() -> Result<Pin<KBox<Self>>> {
        // A kernel thread has no memory to monitor.
        let owner: ARef<Mm> = ARef::from(&**current!().mm().ok_or(EINVAL)?);
        let status = Status::new(owner.clone())?;
        KBox::pin_init(
            pin_init!(Self {
                owner,
                config <- new_mutex!(Config { registered: false }, "kdreg::config"),
                regions <- new_spinlock!(Regions::new(status.clone()), "kdreg::regions"),
                events <- new_poll_condvar!("kdreg::events"),
                settled <- new_condvar!("kdreg::settled"),
                notifier: Notifier::new(),
                status,
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Whether the current process is the one that opened the descriptor.
    pub(crate) fn is_owner(&self) -> bool {
        current!()
            .mm()
            .is_some_and(|mm| core::ptr::eq(mm.as_raw(), self.owner.as_raw()))
    }

    /// EIO for anybody but the owner.
    pub(crate) fn check_owner(&self) -> Result {
        if self.is_owner() {
            Ok(())
        } else {
            Err(EIO)
        }
    }

    /// The addresses that the owner can have.
    #[inline(always)]
    pub(crate) fn addresses(&self) -> Addresses {
        Addresses::of(&self.owner)
    }

    pub(crate) fn statistics(&self) -> Statistics {
        self.regions.lock().statistics()
    }

    // --- Configuration ---------------------------------------------------------------------

    /// CONFIG_DATA. Passes the address of the status data to `tell`; when that fails, nothing has
    /// changed. The caller is the owner.
    pub(crate) fn configure(&self, max: u64, tell: impl FnOnce(u64) -> Result) -> Result {
        if max == 0 {
            return Err(EINVAL);
        }
        if max > crate::region_cap().into() {
            return Err(ENOSPC);
        }
        let max = max as u32;
        let mut config = self.config.lock();
        // From here on MONITOR finds no slots.
        let before = self.regions.lock().suspend()?;
        self.try_configure(&mut config, max, tell).inspect_err(|_| {
            self.regions.lock().resume(before);
        })
    }

    fn try_configure(
        &self,
        config: &mut Config,
        max: u32,
        tell: impl FnOnce(u64) -> Result,
    ) -> Result {
        if !config.registered {
            let task = current!();
            let mm = task.mm().ok_or(EIO)?;
            // SAFETY: `self` is pinned (`new` returns it so), it is not registered, the mutex
            // around `config` is held, and `drop` unregisters.
            unsafe { self.notifier.register(mm)? };
            config.registered = true;
        }
        let mut table = Slots::table_for(max)?;
        self.status.configure(max)?;
        let address = self.status.map(max)?;
        if let Err(err) = tell(address as u64) {
            Status::unmap(address, max);
            return Err(err);
        }
        self.status.announce(max, Status::words_at(address));
        self.regions.lock().reconfigure(max, &mut table);
        Ok(())
    }

    // --- Monitoring ------------------------------------------------------------------------

    /// The regions, at a moment when some can be added.
    fn lock_settled(&self) -> Guard<'_> {
        let mut regions = self.regions.lock();
        // An invalidation that does not hold the lock is on its way through many regions. It needs
        // nothing from us and takes no longer than they are many. None begins while we hold it.
        while regions.is_marking() {
            self.settled.wait(&mut regions);
        }
        regions
    }

    /// Gives the slots of chunk `number` their memory. The lock is not held.
    fn grow(&self, number: usize) -> Result {
        let chunk = self.new_chunk(number)?;
        let unused = self.regions.lock().install(number, chunk);
        // Another thread may have been faster. Freeing may sleep.
        drop(unused);
        Ok(())
    }

    fn new_chunk(&self, number: usize) -> Result<Chunk> {
        let page = number * crate::slots::CHUNK_SLOTS / StatePage::WORDS;
        let generation = crate::first_generation().min(GENERATION_MAX);
        Chunk::new(number, self.status.state_page(page)?, generation)
    }

    /// MONITOR. Passes the parameters to `tell`; when that fails, the region is not monitored.
    pub(crate) fn monitor(
        &self,
        request: &Request,
        tell: impl FnOnce(&Kdreg2MonitoringParams) -> Result,
    ) -> Result {
        let added = loop {
            // The lock is held for this statement alone.
            let added = self.lock_settled().monitor(request)?;
            match added {
                Added::NeedsChunk(number) => self.grow(number)?,
                Added::New(params) => break Ok(params),
                Added::Same(params) => break Err(params),
            }
        };
        match added {
            Ok(new) => tell(&new).inspect_err(|_| {
                let _ = self.unmonitor(request.cookie, new.location, new.generation);
            }),
            Err(same) => tell(&same),
        }
    }

    /// Monitors the regions of `entries` and fills in their results. Returns which are new, as a
    /// set of bits.
    pub(crate) fn monitor_entries(&self, entries: &mut [KdregMonitorEntry]) -> u64 {
        let addresses = self.addresses();
        let mut done = Progress::default();
        loop {
            let missing = self
                .lock_settled()
                .monitor_entries(addresses, entries, &mut done);
            let Some(number) = missing else {
                return done.new;
            };
            if let Err(err) = self.grow(number) {
                Regions::refuse_next(entries, &mut done, err);
            }
        }
    }

    /// UNMONITOR.
    pub(crate) fn unmonitor(&self, cookie: u64, location: u64, generation: u32) -> Result {
        self.regions.lock().unmonitor(cookie, location, generation)
    }

    /// Stops monitoring the regions of `entries` and fills in their results.
    pub(crate) fn unmonitor_entries(&self, entries: &mut [KdregUnmonitorEntry]) {
        self.regions.lock().unmonitor_entries(entries);
    }

    /// UNMONITOR_ALL. Regions that other threads add meanwhile may or may not stay.
    pub(crate) fn unmonitor_all(&self) {
        let mut cursor = 0;
        while self.regions.lock().unmonitor_some(&mut cursor, STEP) {}
    }

    // --- Invalidation ----------------------------------------------------------------------

    /// A change begins: marks the regions that are there. `rights` says what a change of protection
    /// leaves, and is asked only where that matters. See [`Context::mark`].
    pub(crate) fn begin_change(
        &self,
        start: u64,
        last: u64,
        change: Change,
        rights: impl FnOnce() -> Rights,
    ) {
        let mut regions = self.regions.lock();
        regions.begin_change();
        self.mark(regions, start, last, change, rights);
    }

    /// A change has been made: marks the regions that were added while it was, which may have been
    /// registered with pages that are gone now. See [`Context::mark`].
    pub(crate) fn end_change(
        &self,
        start: u64,
        last: u64,
        change: Change,
        rights: impl FnOnce() -> Rights,
    ) {
        let mut regions = self.regions.lock();
        if regions.end_change() {
            self.mark(regions, start, last, change, rights);
        }
    }

    /// Marks every region that overlaps `start..=last` and cares for `change`. When this returns,
    /// their words have changed.
    ///
    /// Called by the notifier with memory-management locks held, possibly in reclaim and possibly
    /// where sleeping is not allowed. Does not sleep, and depends on nobody who might.
    fn mark<'a>(
        &'a self,
        mut regions: Guard<'a>,
        start: u64,
        last: u64,
        change: Change,
        rights: impl FnOnce() -> Rights,
    ) {
        let change = if regions.are_discerning() {
            change.leaves(rights())
        } else {
            change
        };
        let mut marked = regions.mark(start, last, change, STEP);
        if marked == 0 {
            return;
        }
        if marked == STEP {
            // Many: let others have the lock now and then. What has been marked is out of the
            // trees and nothing is added meanwhile, so this ends.
            regions.begin_marking();
            while marked == STEP {
                drop(regions);
                regions = self.regions.lock();
                marked = regions.mark(start, last, change, STEP);
            }
            if regions.end_marking() {
                drop(regions);
                self.settled.notify_all();
            } else {
                drop(regions);
            }
        } else {
            drop(regions);
        }
        self.events.notify_all();
    }

    /// The owner's address space is being torn down: no task is left in it that could read an
    /// event or look at a word. Gives the memory back.
    pub(crate) fn owner_gone(&self) {
        let chunks = self.regions.lock().take_chunks();
        // Outside the lock: freeing may sleep, which is allowed here.
        drop(chunks);
    }

    // --- Events ----------------------------------------------------------------------------

    /// Reads up to `count` events, handing them to `tell` a few at a time; `tell` returns how many
    /// of them reached the client. Returns how many did in total; EFAULT when none did. Waits for
    /// the first one unless `nonblocking`.
    pub(crate) fn read(
        &self,
        count: usize,
        nonblocking: bool,
        mut tell: impl FnMut(&[Kdreg2Event]) -> usize,
    ) -> Result<usize> {
        let mut events = [Kdreg2Event::default(); READ_EVENTS];
        let mut done = 0;
        while done < count {
            let mut regions = self.regions.lock();
            while done == 0 && !regions.has_events() {
                if nonblocking {
                    return Err(EAGAIN);
                }
                if self.events.wait_interruptible(&mut regions) {
                    return Err(ERESTARTSYS);
                }
            }
            let room = (count - done).min(READ_EVENTS);
            let mut taken = regions.take_events(&mut events[..room]);
            drop(regions);
            let wanted = taken.len();
            if wanted == 0 {
                break;
            }
            let told = tell(&events[..wanted]);

            let mut regions = self.regions.lock();
            regions.finish_events(&mut taken, told as u32);
            done += told;
            if told < wanted {
                // Nothing is lost; and somebody else may have gone to sleep meanwhile.
                regions.return_events(taken);
                drop(regions);
                self.events.notify_all();
                if done == 0 {
                    return Err(EFAULT);
                }
                break;
            }
        }
        Ok(done)
    }

    /// FLUSH: discards all pending events.
    pub(crate) fn flush(&self) {
        let mut taken = self.regions.lock().take_all_events();
        while !taken.is_empty() {
            let before = taken.len();
            self.regions.lock().finish_events(&mut taken, STEP);
            if taken.len() == before {
                break;
            }
        }
    }

    /// Whether an event is pending; registers the poller first, so that it misses none.
    pub(crate) fn poll(&self, file: &File, table: &PollTable<'_>) -> bool {
        table.register_wait(file, &self.events);
        self.regions.lock().has_events()
    }
}

#[pinned_drop]
impl PinnedDrop for Context {
    fn drop(self: Pin<&mut Self>) {
        if self.config.lock().registered {
            // SAFETY: `registered` says that it was registered with the owner; this runs once.
            unsafe { self.notifier.unregister(&self.owner) };
        }
        // Nobody calls us any more; close does not leave a valid word behind.
        let chunks = self.regions.lock().take_chunks();
        drop(chunks);
        self.status.invalidate_all();
    }
}
