// SPDX-License-Identifier: GPL-2.0-only

//! One open descriptor.
//!
//! # Life
//!
//! * **open** notes the address space of the caller, the *owner*, which all descriptors of a process
//!   share (`space`; a reference on `mm_count`: the structure stays, its memory does not). Everything
//!   but close and fdinfo is for the owner only. open takes no mmap lock, because the misc core holds
//!   its one mutex across it.
//! * **CONFIG_DATA**, the first one in the process, registers the MMU notifier.
//! * **fork**: the child inherits the descriptor and the status mapping, neither of which works
//!   there. MMU notifiers are not inherited. The parent is not disturbed.
//! * **exec**: the owner's address space ends like that of a process that exits; the new image is
//!   not the owner. CLONE_VM threads and vfork() children share the address space and are.
//! * **exit** of the owner: the notifier's `release` frees all regions, events and state words, so
//!   that an inherited descriptor holds next to nothing: itself, and the status pages that other
//!   processes see. From then on nobody is the owner.
//! * **close** of the last reference to the descriptor, by whichever process: its regions are taken
//!   out, then everything is freed, but for what an inherited mapping holds, as above. The last one
//!   of a process puts the notifier, too, which is freed when no callback runs any more. Status pages
//!   that are still mapped read "changed" for ever.
//! * **rmmod** is refused by the references that open descriptors and status mappings hold on the
//!   module; then it waits until the notifiers that were put have been freed.

use crate::{
    abi::*,
    account::{Account, Charge},
    addresses::Addresses,
    answers::{Added, Progress, Statistics},
    members::Member,
    regions::Regions,
    request::Request,
    slots::{Chunk, Slots, GENERATION_MAX},
    space::{Holder, Locked, Space, STEP},
    status::{StatePage, Status},
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex},
};

/// One open descriptor. The locks are described in `kdreg.rs`.
///
/// # Invariants
///
/// `member` is one of `space`.
#[pin_data(PinnedDrop)]
pub(crate) struct Context {
    space: Holder,
    account: Arc<Account>,
    /// For the descriptor itself; its status has one of its own.
    _charge: Charge,
    status: Arc<Status>,
    /// Serialises CONFIG_DATA.
    #[pin]
    config: Mutex<()>,
    #[pin]
    member: Member,
}

// System calls use a context from any thread at the same time.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Context>();
    shared::<Status>();
};

impl Context {
    /// The context of a descriptor that the current process opens.
    pub(crate) fn new() -> Result<Pin<KBox<Self>>> {
        let space = Holder::of_current()?;
        let account = Account::of_current()?;
        let own = size_of::<Self>() + Regions::BOXED + size_of::<Space>();
        let charge = account.charge(own)?;
        let status = Status::new(space.owner().clone(), account.clone())?;
        let regions = Regions::new(status.clone())?;
        let context = KBox::pin_init(
            pin_init!(Self {
                space,
                account,
                _charge: charge,
                config <- new_mutex!((), "kdreg::config"),
                member <- Member::new(regions, status.clone()),
                status,
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        // INVARIANT: It is a member from now on.
        // SAFETY: It is pinned, and `drop` takes it out.
        unsafe { context.space.join(&context.member) };
        Ok(context)
    }

    pub(crate) fn member(&self) -> &Member {
        &self.member
    }

    /// The regions, under the lock.
    #[inline(always)]
    pub(crate) fn lock(&self) -> Locked<'_> {
        // SAFETY: By the type invariants.
        unsafe { self.space.lock(&self.member) }
    }

    /// The same at a moment when some can be added.
    #[inline(always)]
    fn lock_settled(&self) -> Locked<'_> {
        // SAFETY: By the type invariants.
        unsafe { self.space.lock_settled(&self.member) }
    }

    /// Whether the current process is the one that opened the descriptor.
    pub(crate) fn is_owner(&self) -> bool {
        current!()
            .mm()
            .is_some_and(|mm| core::ptr::eq(mm.as_raw(), self.space.owner().as_raw()))
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
        Addresses::of(self.space.owner())
    }

    pub(crate) fn statistics(&self) -> Statistics {
        self.lock().statistics()
    }

    /// The longest that the lock of the process was held.
    pub(crate) fn longest_hold(&self) -> u64 {
        self.space.longest_hold()
    }

    /// Bytes that the opener has by all descriptors.
    pub(crate) fn user_memory(&self) -> u64 {
        self.account.used()
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
        let _config = self.config.lock();
        // From here on MONITOR finds no slots.
        let before = self.lock().suspend()?;
        self.try_configure(max, tell).inspect_err(|_| {
            self.lock().resume(before);
        })
    }

    /// Does it, with `config` held.
    fn try_configure(&self, max: u32, tell: impl FnOnce(u64) -> Result) -> Result {
        self.space.listen()?;
        let mut room = Slots::room_for(max, &self.account)?;
        self.status.configure(max)?;
        let address = self.status.map(max)?;
        if let Err(err) = tell(address as u64) {
            Status::unmap(address, max);
            return Err(err);
        }
        self.status.announce(max, Status::words_at(address));
        self.lock().reconfigure(max, &mut room);
        Ok(())
    }

    // --- Monitoring ------------------------------------------------------------------------

    /// Gives the slots of chunk `number` their memory. The lock is not held.
    fn grow(&self, number: usize) -> Result {
        let chunk = self.new_chunk(number)?;
        let unused = self.lock().install(number, chunk);
        // Another thread may have been faster. Freeing may sleep.
        drop(unused);
        Ok(())
    }

    fn new_chunk(&self, number: usize) -> Result<Chunk> {
        let page = number * crate::slots::CHUNK_SLOTS / StatePage::WORDS;
        let generation = crate::first_generation().min(GENERATION_MAX);
        Chunk::new(
            number,
            self.status.state_page(page)?.ok_or(EINVAL)?,
            generation,
            &self.account,
        )
    }

    /// MONITOR. Passes the parameters to `tell`; when that fails, the region is not monitored.
    pub(crate) fn monitor(
        &self,
        request: &Request,
        tell: impl FnOnce(&Kdreg2MonitoringParams) -> Result,
    ) -> Result {
        let added = loop {
            let mut regions = self.lock_settled();
            let added = regions.monitor(request)?;
            regions.added(matches!(added, Added::New(_)).into());
            drop(regions);
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
            let mut regions = self.lock_settled();
            let before = done.new;
            let missing = regions.monitor_entries(addresses, entries, &mut done);
            regions.added((done.new != before).into());
            drop(regions);
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
        self.lock().unmonitor(cookie, location, generation)
    }

    /// Stops monitoring the regions of `entries` and fills in their results.
    pub(crate) fn unmonitor_entries(&self, entries: &mut [KdregUnmonitorEntry]) {
        self.lock().unmonitor_entries(entries);
    }

    /// UNMONITOR_ALL. Regions that other threads add meanwhile may or may not stay.
    pub(crate) fn unmonitor_all(&self) {
        let mut cursor = 0;
        while self.lock().unmonitor_some(&mut cursor, STEP) {}
    }
}

#[pinned_drop]
impl PinnedDrop for Context {
    fn drop(self: Pin<&mut Self>) {
        // First of all: once the member has left, no change is marked in its regions, whose words
        // the process can still read. The lock that `leave` takes and lets go of orders this before
        // any change that does not find the member.
        //
        // No region becomes active any more: whoever adds one holds the descriptor. A change that
        // is being marked beside this writes words too, but only such as no parameters match.
        self.status.invalidate_all();
        self.space.leave(&self.member);
        // Nobody uses the member any more.
        let chunks = self.lock().take_chunks();
        // Outside the lock: freeing may sleep.
        drop(chunks);
        // A child may have the mapping for as long as it likes.
        self.status.give_back();
    }
}
