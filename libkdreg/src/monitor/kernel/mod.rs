// SPDX-License-Identifier: MIT OR Apache-2.0
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

use super::backend::{Backend, Capabilities, Kind, Subscriber};
use super::shared::Refusal;
use super::table::{Matching, Removed, Table};
use super::words::MAX_REGIONS;
use super::{Event, Region, Validity, eventfd, subscription};
use crate::errno::Errno;
use crate::process::{self, Home, PerProcess};
use crate::range::Range;
use crate::reservation::{OnFork, Reservation, Zeroed};
use crate::uapi::{KDREG_FEATURE_SYNCHRONOUS, Kdreg2Event};
use device::{Device, Name};
use parking_lot::Mutex;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Which table slot the kernel's location stands for. Written by the thread
/// that monitored there, before anybody else knows of the region.
struct Place {
    slot: AtomicU32,
    /// The table's generation of that slot.
    armed: AtomicU32,
    /// The kernel's generation of the location. Written last, with Release,
    /// read first, with Acquire: it vouches for the other two.
    generation: AtomicU32,
}

// SAFETY: atomic integers; zero is one of their values.
unsafe impl Zeroed for Place {}

/// Devices that no monitor uses.
#[derive(Default)]
struct Idle(Mutex<Vec<Device>>);

static IDLE: PerProcess<Idle> = PerProcess::new();

/// See the module's documentation.
pub(crate) struct Kernel {
    /// `None` only while being dropped.
    device: Option<Device>,
    table: Table,
    /// By the kernel's location.
    places: Reservation<Place>,
    /// The kernel's location, by table slot.
    locations: Reservation<AtomicU32>,
    pump: Mutex<()>,
    home: Home,
}

/// The cookie of a slot: never the same for two monitorings.
fn cookie(slot: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(slot)
}

impl Kernel {
    /// Opens a device, or takes one that is idle.
    pub fn start(max_regions: u32) -> Result<Arc<Kernel>, Refusal> {
        let table = Table::new(max_regions, Matching::BySlot)?;
        let places = Reservation::new(MAX_REGIONS as usize, OnFork::Copy)?;
        let locations = Reservation::new(MAX_REGIONS as usize, OnFork::Copy)?;
        let home = Home::here()?;
        let idle = IDLE.get()?.0.lock().pop();
        let device = match idle {
            Some(device) => device,
            None => {
                let device = Device::open(MAX_REGIONS)?;
                process::close_in_child(device.fd());
                device
            }
        };
        Ok(Arc::new(Kernel {
            device: Some(device),
            table,
            places,
            locations,
            pump: Mutex::new(()),
            home,
        }))
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
                let (slot, generation) = (event.cookie as u32, (event.cookie >> 32) as u32);
                self.table
                    .invalidate_slot(slot, generation, device::reason(event));
            }
            if count < events.len() {
                return;
            }
        }
    }

    /// Begins to monitor; when the device is full of events nobody read, reads
    /// them and tries again.
    fn arm(&self, range: Range, cookie: u64) -> Result<Name, Errno> {
        match self.device().monitor(range, cookie) {
            Err(error) if error == Errno::ENOSPC => {
                self.pump();
                self.device().monitor(range, cookie)
            }
            other => other,
        }
    }

    /// Monitors for a table slot.
    fn arm_slot(&self, range: Range, slot: u32, armed: u32) -> Result<Region, Errno> {
        self.locations.commit(slot as usize + 1)?;
        let name = self.arm(range, cookie(slot, armed))?;
        // From here on a failure would leave the kernel monitoring: there is
        // none but a device that breaks its word.
        let location = u32::try_from(name.location).map_err(|_| Errno::EIO)?;
        let word = self.device().word(name.location).ok_or(Errno::EIO)?;
        if let Err(error) = self.places.commit(location as usize + 1) {
            self.device().unmonitor(name);
            return Err(error);
        }
        self.locations.at(slot).store(location, Ordering::Release);
        let place = self.places.at(location);
        place.slot.store(slot, Ordering::Relaxed);
        place.armed.store(armed, Ordering::Relaxed);
        place.generation.store(name.generation, Ordering::Release);
        Ok(Region {
            word,
            generation: name.generation,
            slot: location,
        })
    }
}

impl Backend for Kernel {
    fn kind(&self) -> Kind {
        Kind::Kernel
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
            if matches!(self.table.remove(slot, armed), Removed::Armed { .. }) {
                let location = self.locations.at(slot).load(Ordering::Acquire);
                let generation = self.places.at(location).generation.load(Ordering::Relaxed);
                self.device().unmonitor(Name {
                    cookie: cookie(slot, armed),
                    location: u64::from(location),
                    generation,
                });
            }
            from = slot;
        }
        self.table.unsubscribe(subscriber.id);
    }

    fn monitor(
        &self,
        subscriber: &Subscriber,
        range: Range,
        user_cookie: u64,
    ) -> Result<Region, Errno> {
        let (slot, armed) = self.table.insert(subscriber.id, range, user_cookie, 0)?;
        self.arm_slot(range, slot, armed).inspect_err(|_| {
            self.table.remove(slot, armed);
        })
    }

    fn word(&self, location: u32) -> Option<&'static AtomicU32> {
        self.device().word(u64::from(location))
    }

    fn unmonitor(&self, location: u32, generation: u32) {
        if location as usize >= self.places.committed() {
            return;
        }
        let place = self.places.at(location);
        // Another generation: the region changed, and the location is another
        // one's by now.
        if place.generation.load(Ordering::Acquire) != generation {
            return;
        }
        let (slot, armed) = (
            place.slot.load(Ordering::Relaxed),
            place.armed.load(Ordering::Relaxed),
        );
        if matches!(self.table.remove(slot, armed), Removed::Armed { .. }) {
            let location = u64::from(location);
            self.device().unmonitor(Name {
                cookie: cookie(slot, armed),
                location,
                generation,
            });
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
