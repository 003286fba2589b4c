// SPDX-License-Identifier: MIT OR Apache-2.0
// Files, in reading order:
//   abi        the kernel's interfaces
//   mappings   what the process has mapped
//   registered which mappings are registered, as far as is known
//   removals   where that may have changed by itself
//   claims     which backend a descriptor's number was last given to
//   headroom   how many mappings may be watched
//   budget     how much time may go into ending watches
//   space      the address space as these see it
//   watching   what these are together
//   watch      how a watch begins
//   unwatch    how one ends
//   discards   what was discarded lately
//   backlog    changes that were read and not marked yet
//   handler    the thread that reads events and marks regions
//   model      an address space that changes between any two of their questions
//! The embedded default: userfaultfd used for its events alone.
//!
//! Ranges are registered in write-protect mode and never write-protected, so
//! no page fault is ever delivered; munmap, mremap and madvise are, and the
//! thread that made such a call sleeps until the handler has read its event.
//!
//! # Locks
//! * `watches`: what is registered with the kernel agrees with what is listed.
//!   Held across system calls; never taken by the handler.
//! * the table's lock, inside it; the handler tries it and does not wait.
//!
//! # How a watch begins and ends
//! See `watch`: mappings are watched as a whole, so that none is ever split.
//!
//! # How a backend ends
//! Everything is unregistered first, while the handler still reads, and the
//! handler closes the descriptor as its last act: from then on the kernel has
//! nobody to wait for. Unregistering matters where a child made by a raw clone
//! (which runs no fork handler) keeps the userfaultfd open.

mod abi;
mod backlog;
mod budget;
mod claims;
mod discards;
mod handler;
mod headroom;
mod mappings;
#[cfg(test)]
mod model;
mod registered;
mod removals;
mod space;
mod unwatch;
mod watch;
mod watching;

use super::backend::{Activity, Backend, Capabilities, Kind, Needs, RegionName, Subscriber};
use super::guard::Standing;
use super::in_flight::{self, InFlight, changes_in_flight};
use super::refusal::Refusal;
use super::table::{Matching, Removed, Table};
use super::validity::{PATIENCE, nap, pause};
use super::{Event, Reason, Region, Validity, eventfd, subscription};
use crate::background::{Thread, way};
use crate::cancellation::held_off;
use crate::descriptor::Descriptor;
use crate::errno::Errno;
use crate::memory::Share;
use crate::process::{self, Home};
use crate::range::Range;
use handler::Events;
use mappings::Mappings;
use space::{Process, Space};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};
pub(super) use unwatch::REST_TIME as REST;
use unwatch::When;
use watching::Watching;

/// See the module's documentation.
pub(crate) struct Userfaultfd {
    /// Owned by the handler, open as long as this exists unless the guard is dead.
    fd: RawFd,
    watching: Watching<Process>,
    /// Whether the kernel counts changes in flight one by one (Linux 5.16; told
    /// by a feature of 5.19). Before, the first change that ends hides others.
    counts_changes: bool,
    stop: Descriptor,
    handler: Option<Thread>,
    home: Home,
}

impl Userfaultfd {
    /// Starts a backend for at most `max_regions` regions.
    pub fn start(max_regions: u32) -> Result<Share<Userfaultfd>, Refusal> {
        let events = abi::FEATURE_WP
            | abi::FEATURE_EVENT_UNMAP
            | abi::FEATURE_EVENT_REMOVE
            | abi::FEATURE_EVENT_REMAP;
        let (fd, every_memory, counts_changes) = match abi::open(events | abi::FEATURE_WP_ASYNC) {
            Ok(fd) => (fd, true, true),
            // Unknown features are refused with EINVAL; ask for less.
            Err(error) if error == Errno::EINVAL => {
                match abi::open(events | abi::FEATURE_WP_HUGETLBFS_SHMEM) {
                    Ok(fd) => (fd, false, true),
                    Err(_) => (abi::open(events).map_err(explain)?, false, false),
                }
            }
            Err(error) => return Err(explain(error)),
        };
        let mappings = Mappings::open().map_err(|error| unreadable("/proc/self/maps", error))?;
        let pagemap = if every_memory {
            let pagemap = mappings::open_proc(c"/proc/self/pagemap");
            Some(pagemap.map_err(|error| unreadable("/proc/self/pagemap", error))?)
        } else {
            None
        };
        let table = Table::new(max_regions, Matching::ByAddress)?;
        let events = Share::new(Events::new(table))?;
        let stop = eventfd::new()?;
        let home = Home::here()?;
        let raw = fd.as_raw_fd();
        claims::claim(raw, &events.table.words().guard);
        process::close_in_child(raw, in_flight::is_userfaultfd);
        let handler = match handler::start(fd, stop.as_raw_fd(), events.clone()) {
            Ok(handler) => handler,
            Err(error) => {
                claims::give_up(raw, &events.table.words().guard);
                process::keep_in_child(raw);
                return Err(error.into());
            }
        };
        way::notice_all(&handler);
        Ok(Share::new(Userfaultfd {
            fd: raw,
            watching: Watching::new(
                Process {
                    fd: raw,
                    pagemap,
                    mappings,
                },
                events,
            ),
            counts_changes,
            stop,
            handler: Some(handler),
            home,
        })?)
    }

    fn table(&self) -> &Table {
        &self.watching.events.table
    }

    /// [`Backend::monitor`], by a thread that is not cancelled.
    fn begin(&self, subscriber: &Subscriber, range: Range, cookie: u64) -> Result<Region, Errno> {
        if let Some(handler) = &self.handler {
            way::notice(handler);
        }
        self.settle()?;
        let armed = self
            .watching
            .watch(range, || self.table().insert(subscriber.id, range, cookie));
        let (slot, generation) = armed.inspect_err(|_| self.watching.unwatch(range, When::Soon))?;
        Ok(Region {
            word: self.table().words().at(slot),
            generation,
            slot,
        })
    }

    /// Waits, for a while, until the handler has taken in every change there
    /// was, so that the event of an earlier mapping at the same address does
    /// not mark the region about to be armed. (It may, at the cost of one
    /// registration.)
    ///
    /// Changes of other threads may follow each other without end: they are
    /// not waited out. A handler that has read and not yet marked has lost the
    /// processor, and is given as long as a check gives it.
    fn settle(&self) -> Result<(), Errno> {
        let guard = &self.table().words().guard;
        for round in 0..PATIENCE {
            let in_flight = self.counts_changes && changes_in_flight(self.fd) == InFlight::Some;
            match guard.standing() {
                Standing::Settled if !in_flight => break,
                Standing::Dead => return Err(Errno::ENXIO),
                _ if in_flight && nap(round).is_some() => break,
                _ => pause(nap(round)),
            }
        }
        Ok(())
    }

    /// Waits, for a while, until the handler has marked what it has read: what
    /// changed before the caller asks for events has its event then.
    fn catch_up(&self) {
        Validity::guarded(&self.table().words().guard).settle();
    }
}

/// Says what to do about a file of /proc that cannot be had.
fn unreadable(path: &str, error: Errno) -> Refusal {
    let error_is = |value| error.value() == value;
    if error_is(libc::ENOENT) {
        Refusal::new(
            error,
            format_args!("there is no {path}: /proc is not mounted here (a chroot?)"),
        )
    } else if error_is(libc::EACCES) || error_is(libc::EPERM) {
        Refusal::new(
            error,
            format_args!(
                "cannot read {path}: the process has changed its user or rights and may not look \
                 at itself. Open a monitor before, or prctl(PR_SET_DUMPABLE, 1) after that"
            ),
        )
    } else {
        Refusal::new(error, format_args!("cannot read {path}: {error}"))
    }
}

/// Says what to do about a userfaultfd that cannot be had.
fn explain(error: Errno) -> Refusal {
    let reason = match error.value() {
        libc::ENOSYS => "this kernel was built without userfaultfd (CONFIG_USERFAULTFD)",
        libc::EPERM => {
            "userfaultfd is not permitted: a seccomp filter, or a kernel before 5.11 with \
             vm.unprivileged_userfaultfd=0"
        }
        libc::EINVAL => "this kernel's userfaultfd has no write-protect mode (Linux 5.7)",
        _ => return Refusal::new(error, format_args!("userfaultfd: {error}")),
    };
    Refusal::new(error, format_args!("{reason}"))
}

impl Backend for Userfaultfd {
    fn kind(&self) -> Kind {
        Kind::Userfaultfd
    }

    fn activity(&self) -> Activity {
        self.table().activity()
    }

    fn is_alive(&self) -> bool {
        // Closed by the application: the handler finds out when it looks around.
        !self.watching.is_dead() && in_flight::is_userfaultfd(self.fd)
    }

    fn capabilities(&self) -> Capabilities {
        let always = Capabilities::UNMAP
            .with(Capabilities::REMAP)
            .with(Capabilities::DISCARD)
            .with(Capabilities::FORK_WARM);
        let if_so = |so, capability| if so { capability } else { Capabilities::NONE };
        always
            .with(if_so(self.counts_changes, Capabilities::STRICT))
            .with(if_so(
                self.watching.space.can_look(),
                Capabilities::ALL_MEMORY,
            ))
    }

    fn validity(&self, relaxed: bool) -> Validity {
        let guard = &self.table().words().guard;
        if relaxed || !self.counts_changes {
            Validity::guarded(guard)
        } else {
            Validity::strict(guard, self.fd)
        }
    }

    /// The event comes, and is read, before the pages go, and nothing tells
    /// when they do.
    fn discards_are_ordered(&self) -> bool {
        false
    }

    fn discarded_lately(&self, range: Range) -> bool {
        self.watching.events.discards.lately(range, discards::now)
    }

    fn subscribe(&self) -> Result<Subscriber, Errno> {
        subscription::begin(self.table())
    }

    fn unsubscribe(&self, subscriber: &Subscriber) {
        subscription::end(self.table(), subscriber, |range| {
            self.watching.unwatch(range, When::Soon)
        });
        self.watching.let_go_of(true);
    }

    fn monitor(
        &self,
        subscriber: &Subscriber,
        range: Range,
        cookie: u64,
        _needs: Needs,
    ) -> Result<Region, Errno> {
        // It waits, and reads files of /proc.
        held_off(|| self.begin(subscriber, range, cookie))
    }

    fn word(&self, name: RegionName) -> Option<&'static AtomicU32> {
        self.table().words().find(name.slot)
    }

    fn unmonitor(&self, name: RegionName) {
        if let Removed::Armed(range) = self.table().remove(name.slot, name.generation) {
            self.watching.unwatch(range, When::Now);
        }
    }

    fn unmonitor_lazily(&self, name: RegionName) {
        if let Removed::Armed(range) = self.table().remove(name.slot, name.generation) {
            self.watching.unwatch(range, When::Soon);
        }
    }

    fn may_have_events(&self) -> bool {
        self.table().any_pending()
    }
    fn drain(&self, subscriber: &Subscriber, events: &mut [Event]) -> usize {
        self.catch_up();
        let taken = subscription::drain(self.table(), subscriber, events);
        for range in events[..taken].iter().filter_map(|event| event.range) {
            self.watching.unwatch(range, When::Now);
        }
        taken
    }

    fn may_rest(&self) -> bool {
        true
    }

    fn begins_to_rest(&self) -> bool {
        // Relaxed: a hint, see where it is stored.
        self.watching.begins_to_rest.load(Ordering::Relaxed)
            && self.watching.begins_to_rest.swap(false, Ordering::Relaxed)
    }

    fn let_go(&self, all: bool) -> bool {
        self.watching.let_go_of(all)
    }
}

impl Drop for Userfaultfd {
    fn drop(&mut self) {
        let Some(handler) = self.handler.take() else {
            return;
        };
        if !self.home.is_here() {
            std::mem::forget(handler);
            return;
        }
        self.table().invalidate_all(Reason::Release);
        if !self.watching.is_dead() {
            self.watching.unregister_everything();
        }
        eventfd::signal(self.stop.number());
        handler.join();
    }
}
