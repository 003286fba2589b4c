// SPDX-License-Identifier: MIT OR Apache-2.0
// Files, in reading order:
//   entries     the entries: the line that a hit touches
//   links       what only the lock's holder touches of them: order, lists, tree
//   pieces      the regions that an entry shares with others
//   waiting     who waits to be told that something is done
//   extras      what few of them have besides
//   refs/       who may use an entry, and who cleans it up
//   page_index  from a page to the entry that served it last, without a lock
//   lookup      the hit; finding by the tree; ending that an entry is found
//   put         putting back
//   batch       entries for many ranges at once
//   asking      what a call says of the registration it asks for
//   drop        dropping one entry, and all for good
//   cause       why they are
//   untold      those that the caller is to be told of
//   telling     telling the caller of entries that are gone
//   held        a reference, in Rust
//   hold        another reference for who has one
//   clock       when an entry was used: what a hit writes
//   sharing     entries that several threads use
//   state       what the lock protects
//   lru         the order of eviction
//   limits      how much is kept: the options
//   request     what is to be registered
//   serving     what a miss registers, and what of it is served
//   miss        the course of a miss
//   excess      how much does not fit
//   turns       priorities, and whose turn it is
//   room        making room for it
//   priority    what goes last, or never
//   registrar   what a cache calls
//   prefetches  what waits for the cache's own thread
//   ahead       registering by a thread of the cache's own
//   register    registering where memory is short
//   publish     making it findable
//   watches     the watches of ranges that were merged
//   group       caches that share limits
//   bypass      whether keeping is worth it
//   frames      the callbacks that a thread is inside of
//   release     undoing a registration
//   rounds      rounds of waiting for what others are undoing
//   undoing     who waits, and is waited for
//   ending      ending a cache
//   reaper      the thread that does it when nobody calls
//   statistics  counts
//   dump        what a cache holds, for people
//   status      the same on the status page
//! The pin-down cache: registrations kept until memory changes, or room is needed.
//!
//! # How it works
//! * [`Cache::get`] first asks the page index, then the interval tree, for an
//!   entry that covers the range; takes a reference, by one atomic or, as a
//!   thread that uses the entry much, by a plain store (`refs`, `sharing`); and
//!   asks the monitor whether what the entry maps has changed. That is a hit: no
//!   lock (by way of the index), no allocation, no system call beyond the
//!   monitor's own; but for one in some hundred hits on entries that other
//!   threads use, which tries the lock and may change who counts (`sharing`).
//! * On a miss the range is monitored *first*, registered second, checked
//!   third, and only then made findable.
//! * Entries never move, and references keep them from being released; who
//!   takes the last one of an entry that is not wanted any more releases it.
//!
//! # Locks
//! `state` protects the tree, the eviction order, the lists, the counts, and what waits
//! for the cache's own thread. It is
//! held for O(log n) steps; never across a callback, an allocation, a call to
//! the monitor, or a system call but membarrier(2), which waits for nobody
//! (`refs` on why ending an entry's ownership may need one), and those that pass
//! the time until a thread goes on that was interrupted among the handful of
//! instructions of its counting (`hazard`). So callbacks may call anything, this
//! cache included, and a hit in the index does not wait for the lock.
//!
//! # Releasing
//! An entry that nobody can find or use any more (`refs`: RETIRED) is
//! unmonitored and deregistered by the thread that retired it, or, within
//! `max_unreleased`, by the reaper.

mod ahead;
mod asking;
pub(crate) mod batch;
mod bypass;
mod cause;
mod clock;
mod drop;
mod dump;
mod ending;
mod entries;
mod excess;
mod extras;
mod frames;
mod group;
mod held;
mod hold;
mod limits;
mod links;
mod lookup;
mod lru;
mod miss;
mod page_index;
mod pieces;
mod prefetches;
mod priority;
mod publish;
mod put;
mod reaper;
mod refs;
mod register;
mod registrar;
mod release;
mod request;
mod room;
mod rounds;
mod serving;
mod sharing;
mod state;
mod statistics;
mod status;
mod telling;
mod turns;
mod undoing;
mod untold;
mod waiting;
mod watches;

use crate::barrier;
use crate::errno::Errno;
use crate::lock::{Condvar, Mutex};
use crate::memory::Share;
use crate::monitor::{Capabilities, Kind, Monitor, Validity};
use crate::process::Home;
use crate::range::{Range, page_size};
use crate::thread_registry::OWN_NUMBERS;
pub(crate) use entries::Entry;
use entries::{Entries, Stamp};
use lru::LruMemory;
use page_index::PageIndex;
use state::State;
use statistics::Shard;
use std::mem::ManuallyDrop;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

pub use asking::{Ask, Registration};
pub use cause::Cause;
pub use group::{Group, GroupOptions};
pub use held::Held;
pub use limits::{Name, Options};
pub(crate) use prefetches::Ready;
pub use registrar::Registrar;
pub use statistics::Statistics;
pub use telling::Departure;
pub use turns::PINNED;
pub(crate) use waiting::Done;
pub use watches::Standing;

/// What `register` returned: the caller's name for a registration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Handle(pub usize);

/// A pin-down cache. See the module's documentation.
///
/// Thread-safe. In a forked child every call fails with `ECHILD`. Dropping it
/// deregisters everything; no callback runs afterwards. It is not to be
/// dropped inside one of its own callbacks.
pub struct Cache {
    inner: Share<Inner>,
}

/// What the cache, its reaper and its callers share.
pub(crate) struct Inner {
    // The line that a hit reads.
    page_index: PageIndex,
    entries: Entries,
    validity: Validity,
    /// No stamp was above this at the last miss: keeps the clocks of threads near
    /// each other.
    epoch: AtomicU64,
    /// How often threads here turned out to put back what others took
    /// (`sharing`). Written under the lock.
    lessons: AtomicU32,
    /// Whether any entry ever had something in its `extras`. Relaxed: who has
    /// something to find there was told of it by way of the lock, or of the
    /// entry.
    has_extras: AtomicBool,
    /// Whether the registrar is to be told of what is dropped.
    tells: bool,
    /// As `State::draining`. Relaxed: a look that spares the lock.
    draining: AtomicBool,
    /// Whether somebody waits for what others are releasing (`undoing`). A look that
    /// spares the lock.
    flushing: AtomicBool,
    /// Signalled when nothing is registered in a cache that is being drained, and
    /// when something is released that somebody waits for.
    idle: Condvar,
    /// Signalled when there is work for the cache's own thread (`ahead`).
    work: Condvar,
    /// Whether it was told that the backend has stopped.
    lost: AtomicBool,
    shards: [Shard; OWN_NUMBERS + 1],

    lru_memory: LruMemory,
    options: Options,
    alignment: usize,
    /// Whether the backend's discards are ordered (`serving`).
    ordered: bool,
    registrar: Box<dyn Registrar>,
    monitor: Monitor,
    home: Home,
    /// See the module's documentation.
    state: Mutex<State>,
}

impl Cache {
    /// A cache on `monitor`'s backend, for which alone the monitor is used: it may be
    /// dropped, and events of the cache's regions do not appear in its queue.
    ///
    /// # Errors
    /// `EINVAL` for an alignment that is not a power of two of at least a
    /// page; `ENOMEM`, `EMFILE`.
    pub fn new(
        monitor: &Monitor,
        options: Options,
        registrar: Box<dyn Registrar>,
    ) -> Result<Cache, Errno> {
        let alignment = if options.alignment == 0 {
            page_size()
        } else {
            options.alignment
        };
        if !alignment.is_power_of_two() || alignment < page_size() {
            return Err(Errno::EINVAL);
        }
        // A hit asks for it, and allocates nothing.
        barrier::prepare()?;
        let options = options.with_defaults();
        let (entries, links) = Entries::with_data(options.capacity()?, options.entry_size)?;
        // For lookups that nothing is noted for (`page_index`).
        entries.commit(State::FIRST_SLOT)?;
        let (lru_memory, lru) = LruMemory::new(entries.capacity() as usize)?;
        let tells = registrar.wants_departures();
        let mut state = State::new(links, lru);
        state.tells = tells;
        let monitor = monitor.sibling()?;
        let inner = Share::new(Inner {
            page_index: PageIndex::new()?,
            entries,
            validity: monitor.validity(),
            epoch: AtomicU64::new(Stamp::end_of(0)),
            lessons: AtomicU32::new(0),
            has_extras: AtomicBool::new(false),
            tells,
            draining: AtomicBool::new(false),
            flushing: AtomicBool::new(false),
            idle: Condvar::new(),
            work: Condvar::new(),
            lost: AtomicBool::new(false),
            shards: std::array::from_fn(Shard::new),
            lru_memory,
            options,
            alignment,
            ordered: monitor.discards_are_ordered(),
            registrar,
            home: monitor.home(),
            monitor,
            state: Mutex::new(state),
        })?;
        let cache = Cache { inner };
        cache.begin()?;
        Ok(cache)
    }

    /// An entry that covers `range` with at least the rights in `access`:
    /// found, or registered now.
    ///
    /// # Errors
    /// What `register` returned; `EFAULT` when part of the range is not
    /// mapped; `ENOMEM` when there is no memory for another entry.
    #[inline(always)]
    pub fn get(&self, range: Range, access: u32) -> Result<Held<'_>, Errno> {
        match self.inner.hit(range.start(), range.len(), access) {
            Some(entry) => Ok(self.inner.held(entry)),
            None => self.inner.get(range, access),
        }
    }

    /// As [`Cache::get`], but never registers: `ENOENT` when nothing covers it.
    #[inline(always)]
    pub fn find(&self, range: Range, access: u32) -> Result<Held<'_>, Errno> {
        match self.inner.hit(range.start(), range.len(), access) {
            Some(entry) => Ok(self.inner.held(entry)),
            None => self.inner.find(range, access),
        }
    }

    /// Drops every entry that overlaps `range`, as if its mapping had changed;
    /// returns how many. Entries in use are released at their last put.
    /// Registrations under way there end, too: whoever asked for one has it for
    /// itself, uncached. So nothing is found later that was begun before.
    pub fn invalidate(&self, range: Range) -> Result<usize, Errno> {
        self.inner.home.check()?;
        let dropped = self.inner.drop_overlapping(range, Cause::Invalidated);
        if dropped > 0 {
            self.inner.monitor.let_go(true);
        }
        Ok(dropped)
    }

    /// Drops the entries whose mapping changed since, and releases everything
    /// that is waiting to be released; returns how many entries were released.
    pub fn reap(&self) -> Result<usize, Errno> {
        self.inner.home.check()?;
        Ok(self.inner.reap_all())
    }

    /// Whether nothing is registered any more.
    pub(crate) fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Relaxed)
    }

    /// Calls `visit` with each entry that can be found, which is in use
    /// meanwhile and may be used for other calls of the cache. What comes or
    /// goes meanwhile may be among them or not.
    pub fn each(&self, mut visit: impl FnMut(&Held<'_>) -> ControlFlow<()>) -> Result<(), Errno> {
        self.inner.home.check()?;
        self.inner.each(|entry| {
            let held = ManuallyDrop::new(Held {
                inner: &self.inner,
                entry,
            });
            visit(&held)
        });
        Ok(())
    }

    /// What the backend sees and promises to this cache.
    pub fn capabilities(&self) -> Capabilities {
        self.inner.monitor.capabilities()
    }

    /// Which backend it is.
    pub fn kind(&self) -> Kind {
        self.inner.monitor.kind()
    }

    /// Whether the backend has stopped working: nothing is found any more, and
    /// what is registered is uncached.
    pub fn is_lost(&self) -> bool {
        self.inner.home.check().is_err() || !self.inner.monitor.is_alive()
    }

    /// Whether the cache does not ask about changes in flight.
    pub fn is_relaxed(&self) -> bool {
        self.inner.validity.is_relaxed()
    }

    /// The number of its monitor, as on the status page.
    pub(crate) fn monitor_number(&self) -> usize {
        self.inner.monitor.activity().name
    }

    /// What it was named.
    pub fn name(&self) -> &str {
        self.inner.options.name.as_str()
    }

    /// Readable while there is something to reap. Only to be polled.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.inner.monitor.event_fd()
    }

    #[inline]
    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}
