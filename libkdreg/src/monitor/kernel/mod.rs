// SPDX-License-Identifier: MIT OR Apache-2.0
// Files, in reading order:
//   device  one descriptor of the device: system calls, status page
//! The kernel backend: an mmu_notifier behind `/dev/kdreg`.
//!
//! The kernel marks a region before the changing call returns, in words that
//! are mapped into the process: a check is one load. Events are read when a
//! subscriber drains its queue, by whoever comes first, and handed out to the
//! subscribers' queues in the [`Table`].
//!
//! # Locks
//! `pump`: one thread at a time reads events, so that they are handed out in
//! order. The table's lock inside it.
//!
//! # Idle devices
//! State words must stay readable after a monitor is closed, for regions that
//! are asked about then. So a device is not closed but cleared and kept for
//! the next monitor; its words go on counting.

mod device;

use super::backend::{Activity, Backend, Capabilities, Kind, Needs, RegionName, Subscriber};
use super::refusal::Refusal;
use super::state_words::MAX_REGIONS;
use super::table::{Matching, Outer, Removed, Table};
use super::{Event, Reason, Region, Validity, eventfd, mapped, subscription};
use crate::errno::Errno;
use crate::lock::Mutex;
use crate::memory::{self, Share};
use crate::process::{self, Home, PerProcess};
use crate::range::Range;
use crate::uapi::{KDREG_FEATURE_SYNCHRONOUS, Kdreg2Event};
use device::{Device, Name};
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicU32;

/// Devices that no monitor uses.
#[derive(Default)]
struct Idle(Mutex<Vec<Device>>);

static IDLE: PerProcess<Idle> = PerProcess::new();

/// See the module's documentation.
pub(crate) struct Kernel {
    /// `None` only while being dropped.
    device: Option<Device>,
    table: Table,
    pump: Mutex<()>,
    home: Home,
}

/// The cookie of a slot: never the same for two monitorings.
fn cookie(slot: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(slot)
}

/// The slot that a cookie is of, and its generation.
fn place(cookie: u64) -> (u32, u32) {
    (cookie as u32, (cookie >> 32) as u32)
}

impl Kernel {
    /// Opens a device, or takes one that is idle.
    pub fn start(max_regions: u32) -> Result<Share<Kernel>, Refusal> {
        let table = Table::new(max_regions, Matching::BySlot)?;
        let home = Home::here()?;
        let idle = IDLE.get()?.0.lock().pop();
        let device = match idle {
            Some(device) => device,
            None => {
                let device = Device::open(MAX_REGIONS)?;
                process::close_in_child(device.fd(), device::is_device);
                device
            }
        };
        Ok(Share::new(Kernel {
            device: Some(device),
            table,
            pump: Mutex::new(()),
            home,
        })?)
    }

    fn device(&self) -> &Device {
        self.device
            .as_ref()
            .expect("a backend has its device until it is dropped")
    }

    /// Hands the events that are there to their subscribers.
    fn pump(&self) {
        let _order = self.pump.lock();
        let mut events = [Kdreg2Event::default(); 64];
        loop {
            let count = self.device().read(&mut events);
            for event in &events[..count] {
                let (slot, generation) = place(event.cookie);
                self.table
                    .invalidate_slot(slot, generation, Reason::of_change(event.reason));
            }
            if count < events.len() {
                return;
            }
        }
    }

    /// Begins to monitor; when the device is full of events nobody read, reads
    /// them and tries again.
    fn arm(&self, range: Range, cookie: u64, needs: Needs) -> Result<Name, Errno> {
        match self.device().monitor(range, cookie, needs) {
            Err(error) if error == Errno::ENOSPC => {
                self.pump();
                self.device().monitor(range, cookie, needs)
            }
            other => other,
        }
    }

    /// What becomes of a range that the device was asked to monitor for a table slot,
    /// which is free again where nothing does.
    fn settle(
        &self,
        range: Range,
        (slot, armed): (u32, u32),
        name: Result<Name, Errno>,
    ) -> Result<Region, Errno> {
        let region = (name.and_then(|name| self.adopt(slot, armed, name))).inspect_err(|_| {
            self.table.remove(slot, armed);
        })?;
        // The kernel watches what is not mapped as well. Asked once the watch
        // has begun: what is there now cannot go unnoticed any more.
        if let Err(error) = mapped::check(range) {
            self.unmonitor(region.name());
            return Err(error);
        }
        Ok(region)
    }

    /// The region that a table slot and a name of the device's are.
    fn adopt(&self, slot: u32, armed: u32, name: Name) -> Result<Region, Errno> {
        let Some(word) = self.device().word(name.location) else {
            self.device().unmonitor(name);
            return Err(Errno::EIO);
        };
        let region = Region {
            word,
            generation: name.generation,
            slot,
        };
        self.table.set_outer(slot, armed, outer(region.name()));
        Ok(region)
    }

    /// Ends the kernel's part of a region that was armed in the table.
    fn disarm(&self, slot: u32, armed: u32, outer: Outer) {
        if let Some(location) = self.device().location(outer.word) {
            let generation = outer.generation;
            self.device().unmonitor(Name {
                cookie: cookie(slot, armed),
                location,
                generation,
            });
        }
    }
}

/// What the table remembers of a region's name.
fn outer(name: RegionName) -> Outer {
    Outer {
        generation: name.generation,
        word: name.word,
    }
}

impl Backend for Kernel {
    fn kind(&self) -> Kind {
        Kind::Kernel
    }

    fn activity(&self) -> Activity {
        self.table.activity()
    }

    fn capabilities(&self) -> Capabilities {
        let always = Capabilities::UNMAP
            .with(Capabilities::REMAP)
            .with(Capabilities::DISCARD)
            .with(Capabilities::GUARD)
            .with(Capabilities::PROTECT)
            .with(Capabilities::FILE)
            .with(Capabilities::SYSV)
            .with(Capabilities::PAGES)
            .with(Capabilities::MIGRATE)
            .with(Capabilities::FOREIGN)
            .with(Capabilities::ALL_MEMORY);
        match self.device().features {
            Some(features) if features.features & KDREG_FEATURE_SYNCHRONOUS != 0 => always
                .with(Capabilities::SYNC)
                .with(Capabilities::STRICT)
                .with(Capabilities::FORK_WARM),
            // Another module: it may defer, and what fork does is its own.
            _ => always,
        }
    }

    fn validity(&self, _relaxed: bool) -> Validity {
        Validity::SYNCHRONOUS
    }

    fn subscribe(&self) -> Result<Subscriber, Errno> {
        let mut subscriber = subscription::begin(&self.table)?;
        match eventfd::any_of([subscriber.event_fd.as_raw_fd(), self.device().fd()]) {
            Ok(poll_fd) => {
                subscriber.poll_fd = Some(poll_fd);
                Ok(subscriber)
            }
            Err(error) => {
                self.table.unsubscribe(subscriber.id);
                Err(error)
            }
        }
    }

    fn unsubscribe(&self, subscriber: &Subscriber) {
        let mut from = 0;
        while let Some((slot, armed)) = self.table.next_of(subscriber.id, from) {
            let outer = self.table.outer(slot, armed);
            if matches!(self.table.remove(slot, armed), Removed::Armed(_)) {
                if let Some(outer) = outer {
                    self.disarm(slot, armed, outer);
                }
            }
            from = slot;
        }
        self.table.unsubscribe(subscriber.id);
    }

    // No cancellation point is on its way: ioctl(2) is none, and msync(2) and
    // read(2) are called by their numbers.
    fn monitor(
        &self,
        subscriber: &Subscriber,
        range: Range,
        user_cookie: u64,
        needs: Needs,
    ) -> Result<Region, Errno> {
        let (slot, armed) = self.table.insert(subscriber.id, range, user_cookie)?;
        self.settle(
            range,
            (slot, armed),
            self.arm(range, cookie(slot, armed), needs),
        )
    }

    fn monitors_many(&self) -> bool {
        self.device().monitors_many()
    }

    fn monitor_all(
        &self,
        subscriber: &Subscriber,
        wanted: &[(Range, u64)],
        needs: Needs,
        regions: &mut Vec<Result<Region, Errno>>,
    ) {
        let mut refusal = Errno::ENOMEM;
        let mut entries = memory::try_vec(wanted.len()).unwrap_or_default();
        for &(range, user_cookie) in &wanted[..entries.capacity().min(wanted.len())] {
            match self.table.insert(subscriber.id, range, user_cookie) {
                Ok((slot, armed)) => {
                    entries.push(self.device().entry(range, cookie(slot, armed), needs));
                }
                // Those after it would find no place either.
                Err(error) => {
                    refusal = error;
                    break;
                }
            }
        }
        self.device().monitor_all(&mut entries);
        for (&(range, _), entry) in wanted.iter().zip(&entries) {
            regions.push(self.settle(range, place(entry.cookie), Name::of(entry)));
        }
        regions.resize(wanted.len(), Err(refusal));
    }

    fn word(&self, name: RegionName) -> Option<&'static AtomicU32> {
        self.device().word(self.device().location(name.word)?)
    }

    fn unmonitor(&self, name: RegionName) {
        if let Some(armed) = self.table.remove_outer(name.slot, outer(name)) {
            self.disarm(name.slot, armed, outer(name));
        }
    }

    fn drain(&self, subscriber: &Subscriber, events: &mut [Event]) -> usize {
        self.pump();
        subscription::drain(&self.table, subscriber, events)
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let Some(device) = self.device.take() else {
            return;
        };
        if !self.home.is_here() {
            // A child's copy: the descriptor was closed at fork, or is the
            // child's to inherit.
            std::mem::forget(device);
            return;
        }
        // The device is kept, its words with it. Should it refuse to be
        // cleared it is not used again, but stays open for the words.
        match (device.clear(), IDLE.get()) {
            (Ok(()), Ok(idle)) => idle.0.lock().push(device),
            _ => std::mem::forget(device),
        }
    }
}
