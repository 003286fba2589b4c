// SPDX-License-Identifier: MIT OR Apache-2.0
// Files, in reading order:
//   peer       whether it is kdregd
//   wire       a connection to it
//   enrol      becoming a client
//   client     the process as one
//   status     asking kdregd how it is
//   mapping    memory that maps are seen through
//   maps       the maps of a grant, looked over
//   subscribe  having the kernel tell of this address space
//   wake       the ring that makes a descriptor readable
//   source     what a check reads the log by
//! The bpf backend: kdregd's BPF programs log what changes, before the changing
//! call returns, and whoever looks next reads the log.
//!
//! A check is a few loads: how far the log was applied, its tail, what the guard
//! says and said, and the region's word. When the tail has moved, the entries that
//! are new are applied first, through the table's tree, by the thread that looks.
//! There is no handler thread, and nothing is asked of the kernel. The log is
//! `change_log`'s: its `marks` has the argument, its `abi` the layout; `enrol` how a
//! process comes to have one.
//!
//! # Locks
//! `client::CURRENT`; `Client::readers`; a reader's; the table's: in this order,
//! and the last two are only tried by those who look up.
//!
//! # What becomes of kdregd
//! Its end changes nothing: the programs and the maps are pinned, and the log that is
//! mapped goes on. When it is told to take them away, or a program of it is detached by
//! another's doing, the guard says that nothing is certain any more, and the backend is
//! lost.
//!
//! # Forks
//! A child finds the words wiped, so that nothing is valid whatever its parent's log
//! says, which it can still read, and its descriptors closed. It may enrol by itself.

mod client;
mod enrol;
mod mapping;
mod maps;
mod peer;
mod source;
#[doc(hidden)]
pub mod status;
#[doc(hidden)]
pub mod subscribe;
mod wake;
mod wire;

#[doc(hidden)]
pub use super::change_log::abi;

use super::backend::{Activity, Backend, Capabilities, Kind, Needs, RegionName, Subscriber};
use super::change_log::{Reader, Standing};
use super::refusal::Refusal;
use super::table::{Matching, Table};
use super::{Event, Region, Validity, eventfd, mapped, subscription};
use crate::errno::Errno;
use crate::log::{self, Level};
use crate::memory::Share;
use crate::process::Home;
use crate::range::Range;
use client::Client;
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicU32;

/// Has the kernel tell of this address space's changes, for kdregd's self-test,
/// which is to do it as clients do; `Err`: why it cannot.
#[doc(hidden)]
pub fn subscribe_address_space() -> Result<(), String> {
    subscribe::subscribe().map_err(|refusal| refusal.reason.to_string())
}

/// How often a miss tries to apply the log to its end.
const ROUNDS: u32 = 64;

/// See the module's documentation.
pub(crate) struct Bpf {
    /// `None` only while being dropped.
    client: Option<Share<Client>>,
    table: Share<Table>,
    home: Home,
}

impl Bpf {
    /// Starts a backend for at most `max_regions` regions.
    pub fn start(max_regions: u32) -> Result<Share<Bpf>, Refusal> {
        let home = Home::here()?;
        let table = Share::new(Table::new(max_regions, Matching::ByAddress)?)?;
        let client = client::join()?;
        log::say(
            Level::Info,
            format_args!(
                "backend bpf: mode {}, a log of {} changes",
                client.mode(),
                client.maps().log().capacity()
            ),
        );
        // From here on dropped as it should be.
        let backend = Bpf {
            client: Some(client),
            table,
            home,
        };
        let (client, reader) = (backend.client(), backend.reader());
        source::open(reader, client.maps().clone(), backend.table.clone())?;
        client.add(reader)?;
        Ok(Share::new(backend)?)
    }

    fn client(&self) -> &Share<Client> {
        self.client
            .as_ref()
            .expect("a backend has its client until it is dropped")
    }

    fn reader(&self) -> &'static Reader {
        &self.table.words().reader
    }

    /// Applies what is in the log, as far as can be done without waiting long.
    fn take_in(&self) -> Standing {
        let mut standing = Standing::Behind;
        for _ in 0..ROUNDS {
            standing = self.reader().catch_up();
            if standing != Standing::Behind {
                break;
            }
            std::thread::yield_now();
        }
        standing
    }
}

impl Backend for Bpf {
    fn kind(&self) -> Kind {
        Kind::Bpf
    }

    fn is_alive(&self) -> bool {
        self.client().is_alive()
    }

    fn activity(&self) -> Activity {
        self.table.activity()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::of_bits(self.client().capabilities())
    }

    fn validity(&self, _relaxed: bool) -> Validity {
        Validity::logged(self.reader())
    }

    fn subscribe(&self) -> Result<Subscriber, Errno> {
        let mut subscriber = subscription::begin(&self.table)?;
        match eventfd::any_of([subscriber.event_fd.as_raw_fd(), self.client().ring_fd()]) {
            Ok(poll_fd) => {
                subscriber.poll_fd = Some(poll_fd);
                Ok(subscriber)
            }
            // No map, but a file, which is never ready: as tests have it.
            Err(error) if error.value() == libc::EPERM => Ok(subscriber),
            Err(error) => {
                self.table.unsubscribe(subscriber.id);
                Err(error)
            }
        }
    }

    fn unsubscribe(&self, subscriber: &Subscriber) {
        subscription::end(&self.table, subscriber, |_| ());
    }

    // No cancellation point is on its way: yielding is none, and the rest is called
    // by number.
    fn monitor(
        &self,
        subscriber: &Subscriber,
        range: Range,
        cookie: u64,
        _needs: Needs,
    ) -> Result<Region, Errno> {
        // What was logged for an earlier mapping at the same address is not to
        // mark this region. (It may, at the cost of one registration.)
        if !self.reader().is_current() && self.take_in() == Standing::Dead {
            return Err(Errno::ENXIO);
        }
        let (slot, generation) = self.table.insert(subscriber.id, range, cookie)?;
        // A range without pages is logged by nobody. Asked once the watch has begun:
        // what is there now cannot go unnoticed any more.
        if let Err(error) = mapped::check(range) {
            self.table.remove(slot, generation);
            return Err(error);
        }
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
        self.table.any_pending() || !self.reader().is_current()
    }

    fn drain(&self, subscriber: &Subscriber, events: &mut [Event]) -> usize {
        let done = self.client().drain();
        let taken = subscription::drain(&self.table, subscriber, events);
        if !done {
            // Nothing else would bring the caller back.
            eventfd::signal(subscriber.event_fd.number());
        }
        taken
    }
}

impl Drop for Bpf {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else {
            return;
        };
        if !self.home.is_here() {
            // A child's copy: see `Kernel`.
            std::mem::forget(client);
            return;
        }
        client.remove(self.reader());
        self.reader().close();
        client::leave(client);
    }
}
