// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every backend offers.

use super::{Event, Reason, Region, Validity};
use crate::descriptor::Descriptor;
use crate::errno::Errno;
use crate::range::Range;
use std::fmt;
use std::sync::atomic::AtomicU32;

/// A subscriber to a backend.
pub(crate) struct Subscriber {
    /// Its number in the backend.
    pub id: u16,
    /// The eventfd that announces its queue.
    pub event_fd: Descriptor,
    /// What to poll instead, where events can also wait outside the queue.
    pub poll_fd: Option<Descriptor>,
}

/// What tells a region from every other there was or will be: the slot in its
/// backend's table, and a generation of its state word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RegionName {
    pub slot: u32,
    pub generation: u32,
    /// Address of the state word.
    pub word: usize,
}

/// What a backend watches and has seen.
#[derive(Clone, Copy, Default)]
pub(crate) struct Activity {
    /// Regions being watched.
    pub regions: u32,
    /// Regions that changed so far, by [`Reason`].
    pub changes: [u64; Reason::ALL.len()],
    /// Tells one backend of the process from another; 0: it watches nothing.
    pub name: usize,
}

impl Activity {
    /// Writes a line for the status page.
    pub fn describe(&self, kind: Kind, text: &mut dyn fmt::Write) -> fmt::Result {
        write!(
            text,
            "monitor name={:#x} backend={kind} regions={}",
            self.name, self.regions
        )?;
        for (reason, count) in Reason::ALL.iter().zip(self.changes) {
            write!(text, " {}={count}", reason.name())?;
        }
        text.write_char('\n')
    }
}

/// A source of mapping changes, shared by its subscribers. Thread-safe; no
/// method is called in a process other than the one that made it.
pub(crate) trait Backend: Send + Sync {
    /// Which it is.
    fn kind(&self) -> Kind;

    /// Whether it still works. One that does not is replaced for those who
    /// open a monitor later.
    fn is_alive(&self) -> bool {
        true
    }

    /// What it watches and has seen, for people.
    fn activity(&self) -> Activity {
        Activity::default()
    }

    /// What it sees.
    fn capabilities(&self) -> Capabilities;

    /// How its state words are to be read. `relaxed` leaves out what guards
    /// against changes in flight, where there is such a choice.
    fn validity(&self, relaxed: bool) -> Validity;

    /// Whether a discard (madvise) that is noticed before a region is armed has
    /// taken its pages by then. Where it need not have, a page is watched
    /// without doubt only from when nobody was discarding it.
    fn discards_are_ordered(&self) -> bool {
        true
    }

    /// Whether a part of `range`, over which a region is armed, was discarded
    /// so lately that its pages may still be about to go: then a registration
    /// over it is not to be kept. Never, where discards are ordered.
    fn discarded_lately(&self, _range: Range) -> bool {
        false
    }

    /// Adds a subscriber.
    fn subscribe(&self) -> Result<Subscriber, Errno>;

    /// Unmonitors the regions of a subscriber and removes it. Afterwards the
    /// backend does not touch its descriptor any more.
    fn unsubscribe(&self, subscriber: &Subscriber);

    /// Begins to watch. When this returns, every page of `range` is mapped and
    /// watched, or the region has changed already. A change of its protection
    /// that leaves what it `needs` may pass for none.
    ///
    /// Part of every miss, so nobody holds cancellation off around it
    /// (`cancellation`): an implementation that calls what is a cancellation
    /// point does.
    fn monitor(
        &self,
        subscriber: &Subscriber,
        range: Range,
        cookie: u64,
        needs: Needs,
    ) -> Result<Region, Errno>;

    /// Whether `monitor_all` takes less than a `monitor` for each would.
    fn monitors_many(&self) -> bool {
        false
    }

    /// As `monitor` for each of the ranges, which have their cookies beside them. What
    /// comes of them is added to `regions`, which has room, in their order.
    fn monitor_all(
        &self,
        subscriber: &Subscriber,
        wanted: &[(Range, u64)],
        needs: Needs,
        regions: &mut Vec<Result<Region, Errno>>,
    ) {
        for &(range, cookie) in wanted {
            regions.push(self.monitor(subscriber, range, cookie, needs));
        }
    }

    /// The state word of a region, if there has been such a region.
    fn word(&self, name: RegionName) -> Option<&'static AtomicU32>;

    /// Ends a watch. A region that has changed already is fine.
    fn unmonitor(&self, name: RegionName);

    /// As `unmonitor`, by one who may well monitor memory near it before long.
    fn unmonitor_lazily(&self, name: RegionName) {
        self.unmonitor(name);
    }

    /// Whether `drain` may find something: a look that costs little. Events
    /// queued this moment may be missed.
    fn may_have_events(&self) -> bool {
        true
    }

    /// Whether `begins_to_rest` is ever to be asked.
    fn may_rest(&self) -> bool {
        false
    }

    /// Whether memory in which nothing is monitored any more is still watched,
    /// and somebody is to call [`Backend::let_go`] before long. Says so once.
    fn begins_to_rest(&self) -> bool {
        false
    }

    /// Ends the watch of memory in which nothing is monitored any more: of all,
    /// or of what has rested long enough. Whether there is more.
    fn let_go(&self, all: bool) -> bool {
        let _ = all;
        false
    }

    /// Takes events off a subscriber's queue. Its descriptor stays readable
    /// while there are more.
    fn drain(&self, subscriber: &Subscriber, events: &mut [Event]) -> usize;
}

/// The rights that whoever registers a region's memory needs on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// To read it.
    Read,
    /// To read and to write it. Also for who does not know: it leaves out
    /// no change that takes anything away.
    Write,
}

impl Needs {
    /// What a registration needs that lets a device read memory, or be read
    /// from (`KDREG_ACCESS_READ`, `KDREG_ACCESS_REMOTE_READ`), and no more; for
    /// any other rights, and for none, everything.
    pub(crate) fn of_access(access: u32) -> Needs {
        const READS: u32 = 1 << 0 | 1 << 2;
        if access != 0 && access & !READS == 0 {
            Needs::Read
        } else {
            Needs::Write
        }
    }
}

/// The backends there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u32)]
pub enum Kind {
    /// The kernel module, `/dev/kdreg`, or a kdreg2-compatible device.
    Kernel = 1,
    /// userfaultfd, in any process, without privileges.
    Userfaultfd = 2,
    /// Watches nothing: correct and uncached.
    None = 3,
    /// kdregd's BPF programs, which log what changes.
    Bpf = 4,
}

impl Kind {
    /// All of them, strongest first.
    pub const ALL: [Kind; 4] = [Kind::Kernel, Kind::Bpf, Kind::Userfaultfd, Kind::None];

    /// The name used in `KDREG_BACKEND` and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kernel => "kernel",
            Kind::Bpf => "bpf",
            Kind::Userfaultfd => "userfaultfd",
            Kind::None => "none",
        }
    }

    /// The backend with this name.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of things a backend sees and promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Capabilities(u64);

macro_rules! capabilities {
    ($($(#[doc = $doc:literal])* $name:ident = $bit:literal, $word:literal;)*) => {
        impl Capabilities {
            $($(#[doc = $doc])* pub const $name: Capabilities = Capabilities(1 << $bit);)*

            /// Every capability with its short name.
            pub const ALL: &[(Capabilities, &str)] = &[$((Capabilities::$name, $word)),*];
        }
    };
}

capabilities! {
    /// munmap, a MAP_FIXED mapping on top, brk shrink, the target of mremap(MREMAP_FIXED), what an mremap cuts off.
    UNMAP = 0, "unmap";
    /// The old range of an mremap.
    REMAP = 1, "remap";
    /// madvise and process_madvise: DONTNEED, DONTNEED_LOCKED, FREE, REMOVE.
    DISCARD = 2, "discard";
    /// madvise(MADV_GUARD_INSTALL).
    GUARD = 3, "guard";
    /// mprotect, pkey_mprotect.
    PROTECT = 4, "protect";
    /// ftruncate and fallocate hole punching through a file descriptor.
    FILE = 5, "file";
    /// shmdt, shmat(SHM_REMAP).
    SYSV = 6, "sysv";
    /// UFFDIO_MOVE, remap_file_pages.
    PAGES = 7, "pages";
    /// The kernel's own doing: migration, reclaim, KSM, huge page collapse.
    MIGRATE = 8, "migrate";
    /// The same changes made by another process.
    FOREIGN = 9, "foreign";
    /// Marked by the kernel before the changing call returns; no thread in between.
    SYNC = 16, "sync";
    /// No window in which another thread can be handed the address before the change is known.
    STRICT = 17, "strict";
    /// Any kind of memory, file-backed included.
    ALL_MEMORY = 18, "all-memory";
    /// A fork() invalidates nothing in the parent.
    FORK_WARM = 19, "fork-warm";
}

impl Capabilities {
    /// Nothing.
    pub const NONE: Capabilities = Capabilities(0);

    /// Both sets together.
    pub const fn with(self, other: Capabilities) -> Capabilities {
        Capabilities(self.0 | other.0)
    }

    /// This set without the other.
    pub const fn without(self, other: Capabilities) -> Capabilities {
        Capabilities(self.0 & !other.0)
    }

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Capabilities) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those of some bits of the C ABI that there are.
    pub(crate) fn of_bits(bits: u64) -> Capabilities {
        let known = |all: u64, (one, _): &(Capabilities, &str)| all | one.0;
        Capabilities(bits & Capabilities::ALL.iter().fold(0, known))
    }

    /// The bits of the C ABI (`KDREG_CAP_*`).
    pub const fn bits(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Needs;

    #[test]
    fn what_only_reads_needs_reading() {
        const READ: u32 = crate::ffi::cache::KDREG_ACCESS_READ;
        const REMOTE_READ: u32 = crate::ffi::cache::KDREG_ACCESS_REMOTE_READ;
        for access in [READ, REMOTE_READ, READ | REMOTE_READ] {
            assert_eq!(Needs::of_access(access), Needs::Read);
        }
        for access in [0, READ | 2, 8, 16 | REMOTE_READ, READ | 1 << 16, u32::MAX] {
            assert_eq!(Needs::of_access(access), Needs::Write);
        }
    }
}
