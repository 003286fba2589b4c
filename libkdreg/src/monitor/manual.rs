// SPDX-License-Identifier: MIT OR Apache-2.0
//! A backend whose changes are announced by a call: for tests of what stands
//! on a monitor, and for measuring it without one. Not part of the API.

use super::backend::{Activity, Backend, Capabilities, Kind, RegionName, Subscriber};
use super::shared::Lease;
use super::subscription;
use super::table::{Matching, Table};
use super::{Event, Monitor, Reason, Region, Validity};
use crate::errno::Errno;
use crate::range::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// Watches nothing by itself: [`Manual::change`] says what changed.
pub struct Manual {
    table: Table,
    /// Whether a check looks at a guard, as that of relaxed userfaultfd does.
    guarded: bool,
}

impl Manual {
    /// A backend and a monitor on it. Its check is the kernel backend's.
    pub fn open() -> Result<(Arc<Manual>, Monitor), Errno> {
        Manual::make(false)
    }

    /// As `open`, with the check of relaxed userfaultfd.
    pub fn open_guarded() -> Result<(Arc<Manual>, Monitor), Errno> {
        Manual::make(true)
    }

    fn make(guarded: bool) -> Result<(Arc<Manual>, Monitor), Errno> {
        let manual = Arc::new(Manual {
            table: Table::new(0, Matching::ByAddress)?,
            guarded,
        });
        let monitor = Monitor::on(Lease::manual(manual.clone())?, false)?;
        Ok((manual, monitor))
    }

    /// Declares that what `range` maps has changed.
    pub fn change(&self, range: Range) {
        self.table.invalidate(range, Reason::Unmap);
    }

    /// How many regions are being watched.
    pub fn watched(&self) -> u32 {
        self.table.armed()
    }
}

impl Backend for Manual {
    fn kind(&self) -> Kind {
        Kind::Kernel
    }

    fn activity(&self) -> Activity {
        self.table.activity()
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::UNMAP
    }
    fn validity(&self, _relaxed: bool) -> Validity {
        if self.guarded {
            Validity::guarded(&self.table.words().guard)
        } else {
            Validity::SYNCHRONOUS
        }
    }
    fn subscribe(&self) -> Result<Subscriber, Errno> {
        subscription::begin(&self.table)
    }
    fn unsubscribe(&self, subscriber: &Subscriber) {
        subscription::end(&self.table, subscriber, |_, _| ());
    }
    fn monitor(&self, subscriber: &Subscriber, range: Range, cookie: u64) -> Result<Region, Errno> {
        let (slot, generation) = self.table.insert(subscriber.id, range, cookie, 0)?;
        Ok(Region {
            word: self.table.words().at(slot),
            generation,
            slot,
        })
    }
    fn word(&self, name: RegionName) -> Option<&'static AtomicU32> {
        self.table.words().find(name.slot)
    }
    fn unmonitor(&self, name: RegionName) {
        self.table.remove(name.slot, name.generation);
    }
    fn may_have_events(&self) -> bool {
        self.table.any_pending()
    }
    fn drain(&self, subscriber: &Subscriber, events: &mut [Event]) -> usize {
        subscription::drain(&self.table, subscriber, events)
    }
}
