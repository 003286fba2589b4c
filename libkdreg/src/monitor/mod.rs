// SPDX-License-Identifier: MIT OR Apache-2.0
// Files, in reading order:
//   backend       what every backend offers, and what can be said of one
//   refusal       why one does not work here
//   change_log/   what kdregd's programs log, as it is read
//   state_words   the state words, which outlive every monitor
//   guard         what says that the words are current, where a thread follows
//   in_flight     what userfaultfd is asked, where that is not enough
//   validity      the check: word, guard, question
//   eventfd       what subscribers poll
//   table         the regions of a backend in user space, and their events
//   subscription  the system calls of its subscribers
//   mapped        whether memory is there at all
//   kernel/       the backends, strongest first: the module
//   bpf/          kdregd's programs
//   userfaultfd/  any process, any kernel
//   none          nothing
//   manual        one that tests drive by hand
//   many          watching many ranges at once
//   shared        which backend a monitor gets, and the sharing of it
//   probe         what each could do here
//! The monitor: "tell me, before the call that changed it returns, that this
//! range no longer maps what it did".
//!
//! A [`Monitor`] is one subscriber, with an event queue of its own, to a
//! backend that is shared by the whole process unless a private one was asked
//! for. Monitoring a range yields a [`Region`]; [`Monitor::is_valid`] says
//! whether it still maps what it did. Events only tell *why* something changed
//! and that there is something to release: they may be late, the validity
//! check never is.

mod backend;
#[doc(hidden)]
pub mod bpf;
mod change_log;
pub(crate) mod eventfd;
mod guard;
mod in_flight;
mod kernel;
#[doc(hidden)]
pub mod manual;
mod many;
mod mapped;
mod none;
mod probe;
mod refusal;
mod shared;
mod state_words;
mod subscription;
mod table;
mod userfaultfd;
mod validity;

use crate::cancellation::held_off;
use crate::errno::Errno;
use crate::process::Home;
use crate::range::Range;
use crate::uapi;
pub(crate) use backend::Activity;
pub(crate) use backend::RegionName;
use backend::Subscriber;
use shared::Lease;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::AtomicU32;

pub use backend::{Capabilities, Kind, Needs};
pub use probe::{Probe, probe};
pub use shared::{BACKEND_VARIABLE, Options};
pub(crate) use state_words::MAX_REGIONS;
pub(crate) use validity::{Settled, Validity};

/// Why a region changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The backend cannot tell.
    #[default]
    Unknown = 0,
    /// Unmapped, or another mapping took its place.
    Unmap = 1,
    /// The pages were given up: madvise(DONTNEED, FREE, REMOVE).
    Discard = 2,
    /// Moved by mremap.
    Remap = 3,
    /// Access rights changed.
    Protect = 4,
    /// The kernel moved or reclaimed pages.
    Migrate = 5,
    /// The monitor was closed, or the address space is going away.
    Release = 6,
    /// The backend stopped working: everything is invalid.
    Lost = 7,
}

impl Reason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Reason; 8] = [
        Reason::Unknown,
        Reason::Unmap,
        Reason::Discard,
        Reason::Remap,
        Reason::Protect,
        Reason::Migrate,
        Reason::Release,
        Reason::Lost,
    ];

    /// What a `KDREG_CHANGE_*` bit is called here.
    fn of_change(change: u32) -> Reason {
        match change {
            uapi::KDREG_CHANGE_UNMAP => Reason::Unmap,
            uapi::KDREG_CHANGE_CLEAR => Reason::Discard,
            uapi::KDREG_CHANGE_PROTECTION | uapi::KDREG_CHANGE_WRITE_PROTECT => Reason::Protect,
            uapi::KDREG_CHANGE_MIGRATE | uapi::KDREG_CHANGE_EXCLUSIVE => Reason::Migrate,
            _ => Reason::Unknown,
        }
    }

    /// A word for tables and logs.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Unknown => "unknown",
            Reason::Unmap => "unmap",
            Reason::Discard => "discard",
            Reason::Remap => "remap",
            Reason::Protect => "protect",
            Reason::Migrate => "migrate",
            Reason::Release => "release",
            Reason::Lost => "lost",
        }
    }
}

/// A change to one region. Every region yields at most one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Event {
    /// What the caller gave to [`Monitor::monitor`].
    pub cookie: u64,
    /// The region as it was registered; always there in a delivered event.
    pub range: Option<Range>,
    /// Why it changed.
    pub reason: Reason,
}

/// A monitored range. It is valid until what it maps changes, and can be asked
/// about for ever: also after it was unmonitored or its monitor is gone.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    word: &'static AtomicU32,
    generation: u32,
    slot: u32,
}

impl Region {
    /// The state word: the region is unchanged while it equals
    /// [`Region::generation`] and the backend's guard says that nothing is in
    /// flight. See [`Monitor::is_valid`].
    pub(crate) fn word(&self) -> &'static AtomicU32 {
        self.word
    }

    /// The value of the state word that means "unchanged". Never 0.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// What the backend knows it by.
    pub(crate) fn name(&self) -> RegionName {
        let word = self.word.as_ptr() as usize;
        RegionName {
            slot: self.slot,
            generation: self.generation,
            word,
        }
    }

    /// The number of the region's slot in its monitor.
    pub fn slot(&self) -> u32 {
        self.slot
    }
}

/// One subscriber to a backend.
///
/// Thread-safe. Dropping it unmonitors its regions. In a forked child every
/// call fails with `ECHILD` and nothing is valid; the child opens its own.
pub struct Monitor {
    backend: Lease,
    subscriber: Subscriber,
    validity: Validity,
    capabilities: Capabilities,
    /// What the backend says of itself, for every miss.
    may_rest: bool,
    home: Home,
}

impl Monitor {
    /// Opens a monitor: the strongest backend that works here, unless
    /// `options` or the environment variable `KDREG_BACKEND` say otherwise.
    ///
    /// # Errors
    /// `ENODEV` when the one backend asked for does not work here; `EINVAL`
    /// for bad options; `EMFILE`/`ENOMEM` when the system is out of something.
    pub fn open(options: &Options) -> Result<Monitor, Errno> {
        Monitor::on(shared::acquire(options)?, options.relaxed)
    }

    /// A monitor on the same backend as this one, with a queue of its own.
    pub fn sibling(&self) -> Result<Monitor, Errno> {
        self.home.check()?;
        Monitor::on(self.backend.share(), self.validity.is_relaxed())
    }

    fn on(backend: Lease, relaxed: bool) -> Result<Monitor, Errno> {
        let home = Home::here()?;
        let subscriber = backend.subscribe()?;
        let validity = backend.validity(relaxed);
        let mut capabilities = backend.capabilities();
        if validity.is_relaxed() {
            capabilities = capabilities.without(Capabilities::STRICT);
        }
        Ok(Monitor {
            may_rest: backend.may_rest(),
            backend,
            subscriber,
            validity,
            capabilities,
            home,
        })
    }

    /// Begins to watch `range`. A change to any page it touches counts.
    ///
    /// # Errors
    /// `EFAULT` when part of it is not mapped, `EBUSY` when another
    /// userfaultfd owns the memory, `EOPNOTSUPP` when this backend cannot
    /// watch it, `ENOSPC` when the monitor is full or the process has nearly as
    /// many mappings as it may, `EAGAIN` when they kept changing, `ENOMEM`.
    pub fn monitor(&self, range: Range, cookie: u64) -> Result<Region, Errno> {
        self.monitor_for(range, cookie, Needs::Write)
    }

    /// As [`Monitor::monitor`], where a change of the memory's protection need
    /// not count while it leaves what `needs` says.
    #[inline]
    pub fn monitor_for(&self, range: Range, cookie: u64, needs: Needs) -> Result<Region, Errno> {
        self.home.check()?;
        self.backend.monitor(&self.subscriber, range, cookie, needs)
    }

    /// Ends the watch. No event follows, and the region is not valid any more.
    /// A region that had changed already is fine, too.
    pub fn unmonitor(&self, region: Region) -> Result<(), Errno> {
        self.home.check()?;
        self.backend.unmonitor(region.name());
        Ok(())
    }

    /// As `unmonitor_name`, by one who may well monitor memory near it before long.
    pub(crate) fn unmonitor_lazily(&self, name: RegionName) {
        if self.home.is_here() {
            self.backend.unmonitor_lazily(name);
            self.announce_rest();
        }
    }

    /// Has whoever waits for events come and see where memory is still watched in
    /// which nothing is monitored any more: see [`Monitor::let_go`].
    #[inline]
    fn announce_rest(&self) {
        if self.may_rest && self.backend.begins_to_rest() {
            self.wake();
        }
    }

    /// Ends the watch of memory in which nothing is monitored any more: of all of
    /// it, or of what has rested long enough. Whether there is more, to be let go
    /// in some [`Monitor::REST`].
    pub(crate) fn let_go(&self, all: bool) -> bool {
        self.home.is_here() && self.backend.let_go(all)
    }

    /// How long memory in which nothing is monitored any more may rest.
    pub(crate) const REST: std::time::Duration = userfaultfd::REST;

    /// Makes the event descriptor readable although there may be no event.
    pub(crate) fn wake(&self) {
        eventfd::signal(self.subscriber.event_fd.number());
    }

    /// Whether `region` still maps what it did when it was monitored.
    ///
    /// If a call that changes the mapping has returned, in any thread, the
    /// answer is `false`. `false` is also the answer when the backend cannot
    /// tell in time.
    #[inline]
    pub fn is_valid(&self, region: Region) -> bool {
        self.validity.check(region.word, region.generation)
    }

    /// As [`Monitor::is_valid`], for a caller that kept the numbers only.
    pub(crate) fn is_valid_name(&self, name: RegionName) -> bool {
        self.home.is_here()
            && self
                .backend
                .word(name)
                .is_some_and(|word| self.validity.check(word, name.generation))
    }

    /// Whether [`Monitor::is_valid`] is more than a load and a compare.
    pub(crate) fn needs_call(&self) -> bool {
        self.validity.needs_call()
    }

    /// As [`Backend::discards_are_ordered`](backend::Backend::discards_are_ordered).
    pub(crate) fn discards_are_ordered(&self) -> bool {
        self.backend.discards_are_ordered()
    }

    /// As [`Backend::discarded_lately`](backend::Backend::discarded_lately).
    pub(crate) fn discarded_lately(&self, range: Range) -> bool {
        self.backend.discarded_lately(range)
    }

    pub(crate) fn validity(&self) -> Validity {
        self.validity
    }

    /// Whether [`Monitor::drain`] may find something: a look that costs little.
    pub(crate) fn may_have_events(&self) -> bool {
        self.backend.may_have_events()
    }

    /// Takes up to `events.len()` events off the queue; returns how many.
    /// A region whose event was taken needs no [`Monitor::unmonitor`].
    pub fn drain(&self, events: &mut [Event]) -> Result<usize, Errno> {
        self.home.check()?;
        if events.is_empty() {
            return Ok(0);
        }
        Ok(held_off(|| {
            let taken = self.backend.drain(&self.subscriber, events);
            // What was announced brought the caller here.
            self.backend.let_go(false);
            taken
        }))
    }

    /// Whether [`Monitor::event_fd`] is still that: the application has not
    /// closed it.
    pub(crate) fn has_its_descriptor(&self) -> bool {
        let Subscriber {
            poll_fd, event_fd, ..
        } = &self.subscriber;
        poll_fd.as_ref().unwrap_or(event_fd).is_ours()
    }

    /// Readable while events are queued. Only to be polled.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.subscriber
            .poll_fd
            .as_ref()
            .unwrap_or(&self.subscriber.event_fd)
            .as_fd()
    }

    /// What the backend watches and has seen, for all its subscribers.
    pub(crate) fn activity(&self) -> Activity {
        self.backend.activity()
    }

    /// Whether the backend still works.
    pub(crate) fn is_alive(&self) -> bool {
        self.backend.is_alive()
    }

    /// Which backend this is.
    pub fn kind(&self) -> Kind {
        self.backend.kind()
    }

    /// What this monitor sees.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Whether this is the process that opened the monitor.
    pub(crate) fn home(&self) -> Home {
        self.home
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if self.home.is_here() {
            self.backend.unsubscribe(&self.subscriber);
        }
    }
}
