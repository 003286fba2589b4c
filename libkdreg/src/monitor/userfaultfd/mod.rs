// SPDX-License-Identifier: MIT OR Apache-2.0
//! The embedded default: userfaultfd used for its events alone.
//!
//! Ranges are registered in write-protect mode and never write-protected, so
//! no page fault is ever delivered; munmap, mremap and madvise are, and the
//! thread that made such a call sleeps until the handler has read its event.
//!
//! # Locks
//! * `subscription`: what is registered with the kernel agrees with what the
//!   table says. Held across system calls; never taken by the handler.
//! * the table's lock, inside it.
//!
//! # How a watch begins
//! The region is armed in the table first, then its pages are registered, then
//! one look under one hold of mmap_lock confirms that every page is mapped and
//! registered. A change from that moment on sends an event that finds the
//! region armed; a change before it makes the confirmation fail or the region
//! changed. Nothing the library remembers about earlier registrations enters
//! the argument.
//!
//! # How a backend ends
//! Everything is unregistered first, while the handler still reads, and the
//! handler closes the descriptor as its last act: from then on the kernel has
//! nobody to wait for. Unregistering matters where a child made by a raw clone
//! (which runs no fork handler) keeps the userfaultfd open.

mod abi;
mod handler;
pub(in crate::monitor) mod in_flight;
mod mappings;

use super::backend::{Activity, Backend, Capabilities, Kind, RegionName, Subscriber};
use super::guard::Standing;
use super::shared::Refusal;
use super::table::{Matching, Removed, Table};
use super::validity::{AWAKE, NAP, PATIENCE};
use super::{Event, Reason, Region, Validity, eventfd, mapped, subscription};
use crate::errno::Errno;
use crate::lock::Mutex;
use crate::process::{self, Home};
use crate::range::{Range, page_size};
use in_flight::{InFlight, changes_in_flight};
use mappings::Mappings;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

/// See the module's documentation.
pub(crate) struct Userfaultfd {
    /// Owned by the handler, open as long as this exists unless the guard is dead.
    fd: RawFd,
    table: Arc<Table>,
    /// /proc/self/pagemap where it can confirm a watch (Linux 6.7).
    pagemap: Option<OwnedFd>,
    mappings: Mappings,
    /// Registered regions beyond which they are no longer registered page by
    /// page: each may split its mapping, and mappings are limited.
    exact_limit: usize,
    subscription: Mutex<()>,
    /// Whether anything was ever registered.
    registered: AtomicBool,
    /// Whether the kernel counts changes in flight one by one (Linux 5.16; told
    /// by a feature of 5.19). Before, the first change that ends hides others.
    counts_changes: bool,
    stop: OwnedFd,
    handler: Option<JoinHandle<()>>,
    home: Home,
}

/// Beyond the exact limit, ranges are widened to this much of their mapping,
/// so that neighbours share one registration.
const BLOCK: usize = 2 << 20;

/// Notes of how a region is registered: its pages are left registered when it
/// goes; its whole mapping is registered; any other: its pages are, of this
/// binary logarithm.
const LEAVE: u8 = 0;
const WHOLE: u8 = 1;

impl Userfaultfd {
    /// Starts a backend for at most `max_regions` regions.
    pub fn start(max_regions: u32) -> Result<Arc<Userfaultfd>, Refusal> {
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
        let mappings = Mappings::open().map_err(|error| Refusal {
            error,
            reason: format!("cannot read /proc/self/maps: {error}"),
        })?;
        let pagemap = if every_memory {
            Some(
                mappings::open_proc("/proc/self/pagemap").map_err(|error| Refusal {
                    error,
                    reason: format!("cannot read /proc/self/pagemap: {error}"),
                })?,
            )
        } else {
            None
        };
        let table = Arc::new(Table::new(max_regions, Matching::ByAddress)?);
        let stop = eventfd::new()?;
        let home = Home::here()?;
        let raw = fd.as_raw_fd();
        process::close_in_child(raw, in_flight::is_userfaultfd);
        let handler = match handler::start(fd, stop.as_raw_fd(), table.clone()) {
            Ok(handler) => handler,
            Err(error) => {
                process::keep_in_child(raw);
                return Err(error.into());
            }
        };
        Ok(Arc::new(Userfaultfd {
            fd: raw,
            table,
            pagemap,
            mappings,
            exact_limit: mappings::max_map_count() / 8,
            subscription: Mutex::new(()),
            registered: AtomicBool::new(false),
            counts_changes,
            stop,
            handler: Some(handler),
            home,
        }))
    }

    /// Whether the handler is gone, and the descriptor with it.
    fn is_dead(&self) -> bool {
        self.table.words().guard.standing() == Standing::Dead
    }

    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the handler keeps the descriptor open until `drop` tells it
        // to stop. (Should the application close it behind our back, the
        // calls fail, and the handler notices.)
        unsafe { BorrowedFd::borrow_raw(self.fd) }
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
        let guard = &self.table.words().guard;
        for round in 0..PATIENCE {
            let in_flight = self.counts_changes && changes_in_flight(self.fd) == InFlight::Some;
            match guard.standing() {
                Standing::Settled if !in_flight => break,
                Standing::Dead => return Err(Errno::ENXIO),
                _ if round < AWAKE => std::thread::yield_now(),
                Standing::Busy if !in_flight => std::thread::sleep(NAP),
                _ => break,
            }
        }
        Ok(())
    }

    /// Makes sure that every page of `range` is watched; returns the note.
    fn watch(&self, range: Range) -> Result<u8, Errno> {
        let surroundings = self.look_at(range)?;
        let pages = range.widened(surroundings.page.unwrap_or_else(page_size));
        let _subscription = self.subscription.lock();
        self.registered.store(true, Ordering::Relaxed);
        let note = self.register(pages, &surroundings)?;
        self.confirm(pages, note)?;
        Ok(note)
    }

    /// What is mapped at `range`, which has no holes and nothing that events
    /// do not cover.
    fn look_at(&self, range: Range) -> Result<Surroundings, Errno> {
        let mut found: Option<Surroundings> = None;
        let mut address = range.start();
        while address < range.end() {
            let mapping = self.mappings.at(address)?;
            if mapping.sysv {
                // shmdt and SHM_REMAP unmap without an event.
                return Err(Errno::EOPNOTSUPP);
            }
            address = mapping.range.end();
            found = Some(match found {
                None => Surroundings {
                    range: mapping.range,
                    page: mapping.page,
                },
                Some(before) => Surroundings {
                    range: before.range.hull(mapping.range),
                    page: before.page.max(mapping.page),
                },
            });
        }
        found.ok_or(Errno::EFAULT)
    }

    /// Registers `pages`, and more around it when there are many regions.
    fn register(&self, pages: Range, around: &Surroundings) -> Result<u8, Errno> {
        let exact = || {
            match (abi::register(&self.fd(), pages), around.page) {
                (Ok(()), _) => Ok(pages),
                // Before PROCMAP_QUERY the page size is not known, and
                // hugetlb wants its own alignment.
                (Err(error), None) if error == Errno::EINVAL => {
                    let mut result = Err(error);
                    for huge in [2 << 20, 1 << 30] {
                        let wide = pages.widened(huge);
                        if result.is_err() && around.range.contains(wide) {
                            result = abi::register(&self.fd(), wide).map(|()| wide);
                        }
                    }
                    result
                }
                (Err(error), _) => Err(error),
            }
        };
        let block = pages
            .widened(BLOCK)
            .intersection(around.range)
            .unwrap_or(pages);
        let coarse = |range| abi::register(&self.fd(), range).map(|()| range);
        let armed = self.table.armed() as usize;
        let registered = if around.is_little_more_than(pages) {
            if coarse(around.range).is_ok() {
                return Ok(WHOLE);
            }
            exact()
        } else if armed <= self.exact_limit {
            exact()
        } else if armed <= 2 * self.exact_limit {
            coarse(block)
        } else {
            coarse(around.range)
        };
        // ENOMEM: the process has as many mappings as it may. Registering all
        // of a mapping splits none, and joins what was split before.
        let registered = match registered {
            Err(error) if error == Errno::ENOMEM => coarse(around.range),
            other => other,
        };
        match registered {
            Ok(range) if range == pages => {
                Ok(around.page.unwrap_or_else(page_size).trailing_zeros() as u8)
            }
            Ok(_) => Ok(LEAVE),
            Err(error) => Err(match error.value() {
                // A kind of memory that this kernel does not watch, or a
                // shared mapping of a file opened for reading only.
                libc::EINVAL | libc::EPERM => Errno::EOPNOTSUPP,
                _ => error,
            }),
        }
    }

    /// Confirms that every page is mapped and watched, in one look.
    fn confirm(&self, pages: Range, note: u8) -> Result<(), Errno> {
        // One page registered by itself is there or the registration failed.
        // Registered with others, it may have been a hole among them.
        if pages.len() == page_size() && note != LEAVE && note != WHOLE {
            return Ok(());
        }
        match &self.pagemap {
            Some(pagemap) => match abi::fully_watched(pagemap, pages) {
                Ok(true) => Ok(()),
                Ok(false) => Err(Errno::EFAULT),
                Err(error) => Err(error),
            },
            // Before 6.7 there is no such look. What goes unnoticed is a hole
            // that was there while registering and was filled before this is
            // what goes unnoticed: a buffer that another thread maps while it
            // is being registered.
            None => mapped::check(pages),
        }
    }

    /// Ends the watch of what no other region needs.
    ///
    /// What stays registered without need (more gaps than `uncovered` reports,
    /// a mapping that was cut or joined since) costs an event that nobody
    /// needs when it is unmapped.
    fn unwatch(&self, range: Range, note: u8) {
        if self.is_dead() {
            return;
        }
        let _subscription = self.subscription.lock();
        match note {
            LEAVE => {}
            WHOLE => {
                let Ok(around) = self.look_at(range) else {
                    return;
                };
                if around.is_little_more_than(range.widened(page_size()))
                    && self
                        .table
                        .uncovered(around.range, page_size(), 1)
                        .is_some_and(|gaps| gaps.iter().next() == Some(around.range))
                {
                    abi::unregister(&self.fd(), around.range);
                }
            }
            page => {
                let page = 1 << page;
                if let Some(gaps) = self.table.uncovered(range.widened(page), page, usize::MAX) {
                    gaps.iter().for_each(|gap| abi::unregister(&self.fd(), gap));
                }
            }
        }
    }

    /// Unregisters everything, wherever mremap may have carried it.
    fn unregister_everything(&self) {
        if !self.registered.load(Ordering::Relaxed) {
            return;
        }
        // Twice: a mapping may move behind the first pass.
        for _ in 0..2 {
            let Ok(mappings) = self.mappings.all() else {
                return;
            };
            for mapping in mappings {
                if self.may_be_ours(mapping.range) {
                    abi::unregister(&self.fd(), mapping.range);
                }
            }
        }
    }

    /// Whether a mapping is registered here, as far as can be told: another
    /// userfaultfd's must be left alone, and older kernels do not see to that.
    fn may_be_ours(&self, mapping: Range) -> bool {
        match &self.pagemap {
            // Registrations end where mappings end: the first page tells.
            Some(pagemap) => {
                let first = Range::between(mapping.start(), mapping.start() + page_size());
                abi::fully_watched(pagemap, first).unwrap_or(false)
            }
            // Registering tells: it is EBUSY for memory of another one.
            None => abi::register(&self.fd(), mapping).is_ok(),
        }
    }
}

/// The mappings that hold a range.
struct Surroundings {
    range: Range,
    /// The largest page size among them, where it is known.
    page: Option<usize>,
}

impl Surroundings {
    /// Whether `pages` are most of what is mapped there. Then all of it is
    /// registered: registering a part splits the mapping, and an application
    /// that resizes or moves its buffer by mremap must find it in one piece.
    fn is_little_more_than(&self, pages: Range) -> bool {
        self.range.contains(pages) && self.range.len() - pages.len() <= pages.len().max(SLACK)
    }
}

/// How much larger than a small region its mapping may be to be registered
/// whole.
const SLACK: usize = 64 << 10;

/// Says what to do about a userfaultfd that cannot be had.
fn explain(error: Errno) -> Refusal {
    let reason = match error.value() {
        libc::ENOSYS => "this kernel was built without userfaultfd (CONFIG_USERFAULTFD)".to_owned(),
        libc::EPERM => "userfaultfd is not permitted: a seccomp filter, or a kernel before 5.11 \
                        with vm.unprivileged_userfaultfd=0"
            .to_owned(),
        libc::EINVAL => {
            "this kernel's userfaultfd has no write-protect mode (Linux 5.7)".to_owned()
        }
        _ => format!("userfaultfd: {error}"),
    };
    Refusal { error, reason }
}

impl Backend for Userfaultfd {
    fn kind(&self) -> Kind {
        Kind::Userfaultfd
    }

    fn activity(&self) -> Activity {
        self.table.activity()
    }

    fn is_alive(&self) -> bool {
        !self.is_dead()
    }

    fn capabilities(&self) -> Capabilities {
        let always = Capabilities::UNMAP
            .with(Capabilities::REMAP)
            .with(Capabilities::DISCARD)
            .with(Capabilities::FORK_WARM);
        let if_so = |so, capability| if so { capability } else { Capabilities::NONE };
        always
            .with(if_so(self.counts_changes, Capabilities::STRICT))
            .with(if_so(self.pagemap.is_some(), Capabilities::ALL_MEMORY))
    }

    fn validity(&self, relaxed: bool) -> Validity {
        let guard = &self.table.words().guard;
        if relaxed || !self.counts_changes {
            Validity::guarded(guard)
        } else {
            Validity::strict(guard, self.fd)
        }
    }

    fn subscribe(&self) -> Result<Subscriber, Errno> {
        subscription::begin(&self.table)
    }

    fn unsubscribe(&self, subscriber: &Subscriber) {
        subscription::end(&self.table, subscriber, |range, note| {
            self.unwatch(range, note)
        });
    }

    fn monitor(&self, subscriber: &Subscriber, range: Range, cookie: u64) -> Result<Region, Errno> {
        self.settle()?;
        let (slot, generation) = self.table.insert(subscriber.id, range, cookie, LEAVE)?;
        match self.watch(range) {
            Ok(note) => {
                self.table.set_note(slot, generation, note);
                Ok(Region {
                    word: self.table.words().at(slot),
                    generation,
                    slot,
                })
            }
            Err(error) => {
                self.table.remove(slot, generation);
                Err(error)
            }
        }
    }

    fn word(&self, name: RegionName) -> Option<&'static AtomicU32> {
        self.table.words().find(name.slot)
    }

    fn unmonitor(&self, name: RegionName) {
        if let Removed::Armed { range, note } = self.table.remove(name.slot, name.generation) {
            self.unwatch(range, note);
        }
    }

    fn may_have_events(&self) -> bool {
        self.table.any_pending()
    }
    fn drain(&self, subscriber: &Subscriber, events: &mut [Event]) -> usize {
        subscription::drain(&self.table, subscriber, events)
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
        self.table.invalidate_all(Reason::Release);
        if !self.is_dead() {
            self.unregister_everything();
        }
        eventfd::signal(self.stop.as_raw_fd());
        // The handler cannot have panicked with anything left to do; either
        // way it is gone.
        let _ = handler.join();
    }
}
