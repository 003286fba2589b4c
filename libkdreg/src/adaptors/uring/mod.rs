// SPDX-License-Identifier: MIT OR Apache-2.0
// Files, in reading order:
//   abi        what the kernel is asked
//   slots      which slots of the table are free
//   registrar  the slots, as the cache fills and empties them
//   advice     what to do when the kernel refuses
//   ffi        the C face
//! io_uring: registered ("fixed") buffers that follow the memory.
//!
//! A storage engine that uses `READ_FIXED` and `WRITE_FIXED` spares the kernel
//! the pinning of pages in each request. It has to register its buffers before,
//! and an index that was registered goes on naming the old pages when the memory
//! is unmapped and mapped again. [`Buffers`] hands out an index for any range:
//! registered now, or found; and never one whose memory was changed since.
//!
//! # Slots
//! The adaptor owns a table of buffer slots, or a window of the one that the
//! caller registered, and nothing else of the ring: it neither submits nor
//! takes completions. While an index is held its slot is not touched. Once it
//! is put, the buffer may be deregistered (its memory changed, or room is
//! needed), and only then can the slot hold another one.
//!
//! # Threads
//! Any thread may get and put; the kernel serialises registration. A ring made
//! with `IORING_SETUP_SINGLE_ISSUER` takes registrations from its submitter
//! only: there [`Buffers::get`] and [`Buffers::reap`] belong to that thread, and
//! what other threads release (a last put, the reaper) is unpinned at the
//! submitter's next call.

mod abi;
mod advice;
#[cfg(feature = "capi")]
pub mod ffi;
mod registrar;
mod slots;

use crate::cache::{self, Cache, Entry, Statistics};
use crate::errno::Errno;
use crate::memory::{Share, try_box, try_boxes};
use crate::monitor::Monitor;
use crate::process::Home;
use crate::range::{Range, page_size};
use advice::Doing;
use registrar::Table;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Slots of a table, when not told otherwise.
const DEFAULT_SLOTS: u32 = 1024;

/// The rights that every registered buffer has: both directions.
const ACCESS: u32 = 3;

/// Where the slots are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A table of the adaptor's own with this many slots, at most 16,384. The
    /// ring must not have one.
    Table(u32),
    /// `count` slots from `first` on of a table that the caller registered.
    /// What is in them is let go.
    Window {
        /// The first slot.
        first: u32,
        /// How many.
        count: u32,
    },
}

/// How to make a [`Buffers`]. The default is right for most.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the slots are; a table of 1,024 if not said.
    pub place: Place,
    /// The most bytes kept registered; 0: as many as can be pinned.
    pub max_bytes: usize,
    /// How many bytes may be left to the reaper to deregister; 0: everything
    /// is deregistered by the call that frees it.
    pub max_unreleased: usize,
    /// The largest registration that merging may make, in bytes; 0: 1 GiB,
    /// which is also the most.
    pub max_merge: usize,
    /// Register just what is asked for, widened to pages.
    pub no_merge: bool,
    /// No thread of the library's releases anything.
    pub no_reaper: bool,
    /// While lookups only miss, register without keeping, all but one in 128;
    /// see [`cache::Options::bypass`].
    pub bypass: bool,
    /// If not 0: the ring gets a completion with this `user_data` for each
    /// registration, when it is unpinned.
    pub tag: u64,
    /// Limits that are shared with other caches.
    pub group: Option<cache::Group>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            place: Place::Table(DEFAULT_SLOTS),
            max_bytes: 0,
            max_unreleased: 0,
            max_merge: 0,
            no_merge: false,
            no_reaper: false,
            bypass: false,
            tag: 0,
            group: None,
        }
    }
}

impl Options {
    fn first(&self) -> u32 {
        match self.place {
            Place::Table(_) => 0,
            Place::Window { first, .. } => first,
        }
    }

    fn count(&self) -> u32 {
        match self.place {
            Place::Table(count) | Place::Window { count, .. } => count,
        }
    }

    fn cache(&self) -> cache::Options {
        let longest = |wanted: usize| match wanted {
            0 => abi::LONGEST,
            bytes => bytes.min(abi::LONGEST),
        };
        cache::Options {
            entry_size: 0,
            name: cache::Name::default(),
            group: self.group.clone(),
            max_entries: self.count() as usize,
            max_bytes: self.max_bytes,
            max_unreleased: self.max_unreleased,
            alignment: 0,
            max_merge: longest(self.max_merge),
            no_merge: self.no_merge,
            no_reaper: self.no_reaper,
            bypass: self.bypass,
        }
    }
}

/// The registered buffers of a ring. See the module's documentation.
///
/// Keeps a descriptor of the ring: the ring may be closed first, and lives in
/// the kernel until this is dropped. In a forked child every call fails with
/// `ECHILD`.
pub struct Buffers {
    cache: Cache,
    table: Share<Table>,
    first: u32,
    /// The entry whose buffer is in a slot, from the first get on for as long
    /// as anybody holds it.
    entries: Box<[AtomicPtr<Entry>]>,
    home: Home,
}

impl Buffers {
    /// Buffers for `ring`, on `monitor`'s backend (the monitor is only used to
    /// find it).
    ///
    /// # Errors
    /// With a warning in the log that says what to do: `EBADF` for a ring that
    /// is not open; `EOPNOTSUPP` for a descriptor that is no ring; `EBUSY` when
    /// it has a table; `EINVAL` for a window outside of the caller's table, for
    /// 0 or more than 16,384 slots, and before Linux 5.13; `EEXIST` from a
    /// thread that is not the ring's only submitter; `ENOMEM`; `EPERM`,
    /// `EACCES` or `ENOSYS` where io_uring_register is refused.
    pub fn new(
        monitor: &Monitor,
        ring: BorrowedFd<'_>,
        options: &Options,
    ) -> Result<Buffers, Errno> {
        let (first, count) = (options.first(), options.count());
        let end = first.checked_add(count).ok_or(Errno::EINVAL)?;
        if count == 0 || end > abi::MOST_SLOTS {
            return Err(Errno::EINVAL);
        }
        let home = Home::here()?;
        let entries = try_boxes(count as usize, AtomicPtr::default)?;
        let table = Share::new(Table::new(ring, options)?)?;
        let registrar = try_box(table.clone())?;
        let cache = Cache::new(monitor, options.cache(), registrar)?;
        // Last: without memory for the rest, the ring is as it was.
        table.make(options.place)?;
        Ok(Buffers {
            cache,
            table,
            first,
            entries,
            home,
        })
    }

    /// A buffer that covers `range`: found, or registered now. To be kept until
    /// the transfers that use its index have completed.
    ///
    /// # Errors
    /// With a warning in the log that says what to do: `ENOBUFS` when all
    /// slots are held; `ENOMEM` when no more memory can be pinned; `EMSGSIZE`
    /// for more than 1 GiB; `EFAULT` or `EOPNOTSUPP` for memory that cannot be
    /// pinned; `EEXIST` from a thread that is not the ring's only submitter.
    #[inline]
    pub fn get(&self, range: Range) -> Result<Buffer<'_>, Errno> {
        let index = self.get_index(range)?;
        Ok(Buffer {
            buffers: self,
            index,
            _held: PhantomData,
        })
    }

    /// As `get`; the caller puts the index back.
    #[inline]
    fn get_index(&self, range: Range) -> Result<u32, Errno> {
        if self.table.slots().any_stale() {
            // Where this thread cannot, registering will say so.
            let _ = self.table.empty_stale();
        }
        let held = match self.cache.get(range, ACCESS) {
            Ok(held) => held,
            // Nobody is there to be advised.
            Err(Errno::ESCAPED) => return Err(Errno::ESCAPED),
            Err(error) => return Err(self.failure(range, error)),
        };
        let slot = held.handle().0 as u32;
        let entry = held.into_raw().cast_mut();
        let place = &self.entries[(slot - self.first) as usize];
        // Relaxed: whoever puts has the index from a get, whose store comes
        // first; and the slot names another entry only after the last put of
        // this one, through the cache's reference word and the slots' lock.
        // Stored only when new, to leave the line alone on a hit.
        if place.load(Ordering::Relaxed) != entry {
            place.store(entry, Ordering::Relaxed);
        }
        Ok(slot)
    }

    /// What to tell the caller of `get`, and the log.
    #[cold]
    fn failure(&self, range: Range, error: Errno) -> Errno {
        let length = range.widened(page_size()).len();
        let told = match error {
            Errno::ENOMEM if self.table.slots().all_taken() => Errno::ENOBUFS,
            _ if length > abi::LONGEST => Errno::EMSGSIZE,
            Errno::ECHILD => return error,
            _ => error,
        };
        self.table.advice().give(Doing::Register(length), told)
    }

    /// The entry in a slot, if it ever had one.
    fn entry(&self, index: u32) -> Result<*const Entry, Errno> {
        let place = index
            .checked_sub(self.first)
            .and_then(|offset| self.entries.get(offset as usize))
            .ok_or(Errno::EINVAL)?;
        let entry = place.load(Ordering::Relaxed);
        if entry.is_null() {
            Err(Errno::EINVAL)
        } else {
            Ok(entry)
        }
    }

    /// Puts back an index that `get_index` gave. `EINVAL` when nobody holds it.
    #[inline]
    fn put_index(&self, index: u32) -> Result<(), Errno> {
        self.cache.inner().put_checked(self.entry(index)?)
    }

    /// Whether the memory of a held index is still what was registered.
    fn is_valid_index(&self, index: u32) -> bool {
        self.entry(index)
            .is_ok_and(|entry| self.cache.inner().is_valid_entry(entry))
    }

    /// Drops every buffer that overlaps `range`, as if its mapping had changed;
    /// returns how many. Those that are held go at their last put.
    pub fn invalidate(&self, range: Range) -> Result<usize, Errno> {
        self.cache.invalidate(range)
    }

    /// Drops every buffer; returns how many. Those that are held go at their
    /// last put.
    pub fn flush(&self) -> Result<usize, Errno> {
        let dropped = self.cache.flush();
        let _ = self.table.empty_stale();
        dropped
    }

    /// Drops the buffers whose mapping changed, and releases everything that
    /// waits to be released; returns how many buffers were.
    pub fn reap(&self) -> Result<usize, Errno> {
        let released = self.cache.reap();
        let _ = self.table.empty_stale();
        released
    }

    /// The cache behind: statistics, a dump, a descriptor to poll.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// What the cache did and holds.
    pub fn statistics(&self) -> Result<Statistics, Errno> {
        self.cache.statistics()
    }

    /// Whether dropping this now is safe.
    #[cfg(feature = "capi")]
    fn may_be_destroyed(&self) -> Result<(), Errno> {
        self.cache.may_be_destroyed()
    }
}

/// Refuses a descriptor number that is not open, with the advice for it.
#[cfg(feature = "capi")]
fn not_open() -> Errno {
    advice::Advice::default().give(Doing::MakeTable(DEFAULT_SLOTS), Errno::EBADF)
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // In a child the table is the parent's.
        if self.home.is_here() {
            // Others of its group may be at work in it: nobody is after this.
            let _ = self.cache.empty();
            self.table.end();
        }
    }
}

/// A registered buffer in use. Dropping it puts it back.
pub struct Buffer<'a> {
    buffers: &'a Buffers,
    index: u32,
    _held: PhantomData<&'a Entry>,
}

impl Buffer<'_> {
    /// What a request has in `buf_index`. Its address and length are the
    /// caller's own, anywhere inside the range that was asked for.
    pub fn index(&self) -> u16 {
        // At most 16,384 slots.
        self.index as u16
    }

    /// Whether the memory is still what was registered. It can change while the
    /// buffer is held, if the application unmaps it before the transfer is done.
    pub fn is_valid(&self) -> bool {
        self.buffers.is_valid_index(self.index)
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        let put = self.buffers.put_index(self.index);
        debug_assert!(put.is_ok() || !self.buffers.home.is_here());
    }
}
