// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a watch begins and ends: mappings are registered with the kernel, and
//! let go, as a whole.
//!
//! Registering a part of a mapping would split it, and the application would
//! meet the split: mremap refuses, huge pages go, mappings run out. So the
//! mappings that hold a region are registered from end to end, and stay so while
//! anything in them is monitored.
//!
//! # Why a region that was confirmed is watched
//! A region is armed in the table first. Then, under the lock of the list of
//! what is registered, what the handler noted of mappings that went is taken out
//! of the list, the rest of what holds the region is registered, and one look of
//! the kernel's under one hold of mmap_lock confirms that every page is mapped
//! and watched.
//!
//! The look tells "by some userfaultfd", not "by ours": that comes from the list.
//! An entry of it was registered here, since registering memory of another
//! userfaultfd fails. What ended that registration since was a change with an
//! event, or was done under the lock, which took the entry out. Of an event the
//! handler notes the range *first* and marks the armed regions *second*; the
//! region was armed *first* and the notes looked at *second*. So either the note
//! was there to be seen, or the region is marked.
//!
//! # Mappings that change meanwhile
//! The bounds of a mapping are asked for and then registered. If it grew in
//! between, a part of it was registered and it is in two; see `mend`.

use super::mappings::{Mapping, everything};
use super::removals::Removal;
use super::unwatch::{When, now};
use super::watches::Watches;
use super::{Userfaultfd, abi};
use crate::errno::Errno;
use crate::log::{self, Level};
use crate::monitor::mapped;
use crate::range::{Range, page_size};

/// Looks at mappings that keep changing, before giving up.
const ROUNDS: usize = 64;

impl Userfaultfd {
    /// Makes sure that every page of `range`, for which a region is armed, is
    /// mapped and watched.
    ///
    /// # Errors
    /// `EFAULT`: one look found an address that was not mapped. `ENOSPC`: the
    /// application is short of mappings. `EAGAIN`: the mappings kept changing.
    pub(super) fn watch(&self, range: Range) -> Result<(), Errno> {
        let pages = range.widened(page_size());
        let mut say = false;
        let result = self.watch_pages(pages, &mut say);
        if say {
            // With no lock held.
            log::say(
                Level::Warn,
                format_args!(
                    "this process has nearly as many mappings as it may (vm.max_map_count): \
                     what lies in further ones is registered, but not cached"
                ),
            );
        }
        result
    }

    fn watch_pages(&self, pages: Range, say: &mut bool) -> Result<(), Errno> {
        let mut watches = self.watches.lock();
        for _ in 0..ROUNDS {
            self.take_in_disturbances(&mut watches);
            if !watches.registered.covers(pages) || self.pagemap.is_none() {
                self.register_around(&mut watches, pages, say)?;
            }
            if self.confirm(pages)? {
                return Ok(());
            }
            // Not all of it is watched: something took the place of something.
            // What is listed there is looked at anew.
            self.look_again(&mut watches, pages);
        }
        Err(Errno::EAGAIN)
    }

    /// Registers the mappings that hold `pages`.
    fn register_around(
        &self,
        watches: &mut Watches,
        pages: Range,
        say: &mut bool,
    ) -> Result<(), Errno> {
        let mut from = pages.start();
        let mut failed = None;
        for _ in 0..ROUNDS.max(pages.len() / page_size()) {
            let mapping = match self.mappings.at(from) {
                Ok(mapping) => mapping,
                // Read as text, mappings can change while they are read; this is
                // one look.
                Err(error) if error == Errno::EFAULT => match mapped::check(pages) {
                    Ok(()) => continue,
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error),
            };
            if mapping.sysv {
                // shmdt and SHM_REMAP unmap without an event.
                return Err(Errno::EOPNOTSUPP);
            }
            match self.register(watches, mapping, say) {
                Ok(()) => {}
                // Not the mapping it was a moment ago? One that stays is not to
                // be watched.
                Err(error) => {
                    if failed == Some((mapping, error)) || error == Errno::ENOSPC {
                        return Err(error);
                    }
                    failed = Some((mapping, error));
                    continue;
                }
            }
            from = mapping.range.end();
            if from >= pages.end() {
                return Ok(());
            }
        }
        Err(Errno::EAGAIN)
    }

    /// Registers one mapping.
    fn register(
        &self,
        watches: &mut Watches,
        mapping: Mapping,
        say: &mut bool,
    ) -> Result<(), Errno> {
        let known = watches.registered.find(mapping.range).is_some();
        watches.registered.reserve()?;
        if !known {
            self.make_room(watches, say)?;
        }
        self.register_range(mapping.range)?;
        // In the list before anything else: what is registered is let go by it.
        watches.registered.insert(mapping.range);
        if !known {
            self.mend(watches, mapping)?;
        }
        Ok(())
    }

    fn register_range(&self, range: Range) -> Result<(), Errno> {
        abi::register(&self.fd(), range).map_err(|error| match error.value() {
            // A kind of memory that this kernel does not watch, or a shared
            // mapping of a file opened for reading only.
            libc::EINVAL | libc::EPERM => Errno::EOPNOTSUPP,
            _ => error,
        })
    }

    /// Room for one more mapping to be watched.
    fn make_room(&self, watches: &mut Watches, say: &mut bool) -> Result<(), Errno> {
        let now = now();
        if watches.headroom.room(watches.registered.count(), now) {
            return Ok(());
        }
        self.let_go_idle(watches, now);
        if watches.headroom.room(watches.registered.count(), now) {
            return Ok(());
        }
        *say = watches.headroom.say_it();
        Err(Errno::ENOSPC)
    }

    /// Sees to it that `mapping`, which was not watched and has just been
    /// registered by the bounds it had before, is not a part of one that had
    /// grown by then. Such a part has a neighbour that it could be one mapping
    /// with, but for being watched. If there is one, the part is let go, whereby
    /// the kernel joins what it finds to be one, and whatever is there then is
    /// registered. Nothing in it was promised to be watched yet: regions armed in
    /// it wait for the lock.
    fn mend(&self, watches: &mut Watches, mut mapping: Mapping) -> Result<(), Errno> {
        for _ in 0..ROUNDS {
            let Ok(now) = self.mappings.at(mapping.range.start()) else {
                return Ok(()); // gone again
            };
            if now.range != mapping.range {
                // Joined with a neighbour that is watched.
                watches.registered.reserve()?;
                watches.registered.insert(now.range);
                return Ok(());
            }
            if !self.may_be_a_part(watches, &now) {
                return Ok(());
            }
            watches.registered.take(now.range);
            abi::unregister(&self.fd(), now.range);
            let Ok(whole) = self.mappings.at(now.range.start()) else {
                return Ok(());
            };
            self.register_range(whole.range)?;
            watches.registered.insert(whole.range);
            if whole.range == now.range {
                return Ok(()); // neighbours, but apart
            }
            mapping = whole;
        }
        Ok(())
    }

    /// Whether a mapping has a neighbour that is not watched and could be one
    /// with it.
    fn may_be_a_part(&self, watches: &Watches, mapping: &Mapping) -> bool {
        let range = mapping.range;
        let could = |neighbour: Result<Mapping, Errno>| {
            neighbour.is_ok_and(|neighbour| {
                neighbour.could_be_one_with(mapping)
                    && watches.registered.find(neighbour.range).is_none()
            })
        };
        could(self.mappings.at(range.end())) || could(self.mappings.at(range.start() - 1))
    }

    /// Whether every page is mapped and watched, by one look where the kernel
    /// has it.
    fn confirm(&self, pages: Range) -> Result<bool, Errno> {
        match &self.pagemap {
            Some(pagemap) => abi::fully_watched(pagemap, pages),
            // Before 6.7 there is no such look. What goes unnoticed is a hole
            // that was there while registering and was filled before this: a
            // buffer that another thread maps while it is being registered.
            None => mapped::check(pages).map(|()| true),
        }
    }

    /// Takes in what the handler noted.
    pub(super) fn take_in_disturbances(&self, watches: &mut Watches) {
        while let Some(removal) = self.events.removals.next() {
            match removal {
                Removal::Range(range) => self.look_again(watches, range),
                Removal::Anything => self.look_again(watches, everything()),
            }
        }
    }

    /// Finds out what of `range`, and of the mappings listed in it, is registered
    /// here now: those are listed, and idle where nothing in them is monitored.
    fn look_again(&self, watches: &mut Watches, range: Range) {
        let mut around = range;
        while let Some(listed) = watches.registered.take(around) {
            around = around.hull(listed);
        }
        let now = now();
        let mut from = around.start();
        while from < around.end() {
            let Ok(Some(mapping)) = self.mappings.from(from) else {
                return;
            };
            from = mapping.range.end();
            if mapping.range.start() >= around.end() {
                return;
            }
            if self.is_ours(mapping.range) && watches.registered.reserve().is_ok() {
                watches.registered.insert(mapping.range);
                self.idle_unless_used(watches, mapping.range, now, When::Now);
            }
        }
    }

    /// Whether a mapping is registered here. Registering it again tells, since it
    /// fails for memory of another userfaultfd; but what is watched by none is not
    /// to be registered now, so the kernel is asked first where it can tell.
    pub(super) fn is_ours(&self, mapping: Range) -> bool {
        let first = Range::between(mapping.start(), mapping.start() + page_size());
        let watched = match &self.pagemap {
            // Registrations end where mappings end: the first page tells.
            Some(pagemap) => abi::fully_watched(pagemap, first).unwrap_or(false),
            None => true,
        };
        watched && abi::register(&self.fd(), mapping).is_ok()
    }
}
