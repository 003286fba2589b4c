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
//! All of this is under the lock of the list of what is registered. The region is
//! armed in the table. Then what the handler noted of mappings that went is taken
//! out of the list, the rest of what holds the region is registered, and one look
//! of the kernel's under one hold of mmap_lock confirms that every page is mapped
//! and watched. So whatever is armed when somebody takes the lock was confirmed,
//! and nobody ends its registration: mappings in which something is armed are not
//! let go (`unwatch`), but for the moment in `mend`, which marks it first.
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
use super::space::Space;
use super::unwatch::{When, now};
use super::watching::{Watches, Watching};
use crate::errno::Errno;
use crate::log::{self, Level};
use crate::monitor::Reason;
use crate::range::{Range, page_size};

/// Looks at mappings that keep changing, before giving up.
const ROUNDS: usize = 64;

impl<S: Space> Watching<S> {
    /// Arms a region of `range` by `arm`, and makes sure that every page of it is
    /// mapped and watched: its slot and generation.
    ///
    /// # Errors
    /// `EFAULT`: one look found an address that was not mapped. `ENOSPC`: the
    /// application is short of mappings. `EAGAIN`: the mappings kept changing.
    /// Those of `arm`.
    pub(super) fn watch(
        &self,
        range: Range,
        arm: impl FnOnce() -> Result<(u32, u32), Errno>,
    ) -> Result<(u32, u32), Errno> {
        let pages = range.widened(page_size());
        let mut say = false;
        let result = {
            let mut watches = self.watches.lock();
            arm().and_then(|armed| {
                let watched = self.watch_pages(&mut watches, pages, armed.0, &mut say);
                if watched.is_err() {
                    self.events.table.remove(armed.0, armed.1);
                }
                watched.map(|()| armed)
            })
        };
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

    /// Sees to it that `pages` are watched, for the region in `slot`.
    fn watch_pages(
        &self,
        watches: &mut Watches,
        pages: Range,
        slot: u32,
        say: &mut bool,
    ) -> Result<(), Errno> {
        for _ in 0..ROUNDS {
            self.take_in_disturbances(watches);
            if !watches.registered.covers(pages) || !self.space.can_look() {
                self.register_around(watches, pages, slot, say)?;
            }
            // Listed, after all that changed meanwhile: the look alone would take
            // another userfaultfd's watch for ours.
            if watches.registered.covers(pages) && self.confirm(pages)? {
                return Ok(());
            }
            // Not all of it is watched: something took the place of something.
            // What is listed there is looked at anew.
            self.look_again(watches, pages);
        }
        Err(Errno::EAGAIN)
    }

    /// Registers the mappings that hold `pages`.
    fn register_around(
        &self,
        watches: &mut Watches,
        pages: Range,
        slot: u32,
        say: &mut bool,
    ) -> Result<(), Errno> {
        let mut from = pages.start();
        let mut failed = None;
        for _ in 0..ROUNDS.max(pages.len() / page_size()) {
            self.take_in_doubts(watches);
            let mapping = match self.space.at(from) {
                Ok(mapping) => mapping,
                // Read as text, mappings can change while they are read; this is
                // one look.
                Err(error) if error == Errno::EFAULT => match self.space.check_mapped(pages) {
                    Ok(()) => continue,
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error),
            };
            if mapping.sysv {
                // shmdt and SHM_REMAP unmap without an event.
                return Err(Errno::EOPNOTSUPP);
            }
            match self.register(watches, mapping, slot, say) {
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
        slot: u32,
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
        // Without the kernel's look the list is not relied on.
        if !known || self.space.can_look() {
            self.mend(watches, mapping, known, slot)?;
        }
        Ok(())
    }

    fn register_range(&self, range: Range) -> Result<(), Errno> {
        self.space
            .register(range)
            .map_err(|error| match error.value() {
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

    /// Lists what became of `mapping`, registered just now by the bounds it had
    /// before. If it was not `known`, sees to it that it is not a part of one that
    /// had grown by then. Such a part has a neighbour that it could be one mapping
    /// with, but for being watched. If there is one, the part is let go, whereby
    /// the kernel joins what it finds to be one, and whatever is there then is
    /// registered. For a moment it is not watched. It was not listed, so nothing in
    /// it should be armed but the region in `slot`, which waits for this; whatever
    /// else is, changes.
    fn mend(
        &self,
        watches: &mut Watches,
        mut mapping: Mapping,
        mut known: bool,
        slot: u32,
    ) -> Result<(), Errno> {
        for _ in 0..ROUNDS {
            let shown = known || self.shows(mapping.range);
            let now = match self.space.at(mapping.range.start()) {
                Ok(now) if now == mapping => now,
                // Joined with a neighbour that is watched.
                Ok(now) if now.range.contains(mapping.range) && !now.sysv => {
                    watches.registered.reserve()?;
                    watches.registered.insert(now.range);
                    return Ok(());
                }
                // Cut, or gone, before it was registered or since.
                _ => {
                    self.look_again(watches, mapping.range);
                    return Ok(());
                }
            };
            if known || shown && self.possible_parts(watches, &now) == [None; 2] {
                return Ok(());
            }
            watches.registered.forget(now.range);
            let table = &self.events.table;
            table.invalidate_others(now.range, slot, Reason::Unknown);
            self.space.unregister(now.range);
            if !shown {
                // Memory of a device: registered, and never watched.
                return Err(Errno::EOPNOTSUPP);
            }
            let Ok(whole) = self.space.at(now.range.start()) else {
                return Ok(());
            };
            self.register_range(whole.range)?;
            watches.registered.insert(whole.range);
            // Neighbours, but apart?
            known = whole.range == now.range;
            mapping = whole;
        }
        Ok(())
    }

    /// The neighbours of a mapping that are not listed and could be one with it.
    pub(super) fn possible_parts(
        &self,
        watches: &Watches,
        mapping: &Mapping,
    ) -> [Option<Range>; 2] {
        let range = mapping.range;
        [range.start().checked_sub(1), Some(range.end())].map(|address| {
            let neighbour = self.space.at(address?).ok()?;
            let possible = neighbour.could_be_one_with(mapping)
                && watches.registered.find(neighbour.range).is_none();
            possible.then_some(neighbour.range)
        })
    }

    /// Whether every page is mapped and watched, by one look where the kernel
    /// has it.
    fn confirm(&self, pages: Range) -> Result<bool, Errno> {
        if self.space.can_look() {
            return self.space.fully_watched(pages);
        }
        // Before 6.7 there is no such look. What goes unnoticed is a hole that was
        // there while registering and was filled before this: a buffer that another
        // thread maps while it is being registered.
        self.space.check_mapped(pages).map(|()| true)
    }

    /// Takes in what the handler had noted by now, and what is in doubt.
    pub(super) fn take_in_disturbances(&self, watches: &mut Watches) {
        // No more than that: what is noted later was armed before, and is marked.
        let removals = &self.events.removals;
        for _ in 0..removals.waiting() {
            if let Some(range) = removals.next() {
                self.look_again(watches, range);
            }
        }
        if removals.any_lost() {
            self.look_everywhere(watches);
        }
        self.take_in_doubts(watches);
    }

    fn take_in_doubts(&self, watches: &mut Watches) {
        for range in watches.registered.take_doubts() {
            self.look_again(watches, range);
        }
    }

    fn look_everywhere(&self, watches: &mut Watches) {
        if self.space.is_quickly_asked() {
            return self.look_again(watches, everything());
        }
        // Of what mremap carried elsewhere nothing is known then: it stays
        // registered, until somebody watches there, or all ends.
        let mut rest = Some(everything());
        while let Some(listed) = rest.and_then(|range| watches.registered.find(range)) {
            self.look_again(watches, listed);
            rest = everything().after(listed.end());
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
        let mut rest = Some(around);
        while let Some(range) = rest {
            let (mapping, ours) = match self.look_at_first(range) {
                Ok(Some(found)) => found,
                Ok(None) => return,
                Err(_) => return watches.registered.doubt(range),
            };
            rest = range.after(mapping.end());
            if ours && watches.registered.reserve().is_ok() {
                watches.registered.insert(mapping);
                self.idle_unless_used(watches, mapping, now, When::Now);
            }
        }
    }

    /// The first mapping that `range` touches, and whether it is registered here.
    /// One that changes meanwhile is asked about anew: what remains of it may be.
    ///
    /// # Errors
    /// That the kernel, or whoever filters what it is asked, does not answer.
    pub(super) fn look_at_first(&self, range: Range) -> Result<Option<(Range, bool)>, Errno> {
        let first = || {
            let found = self.space.from(range.start())?;
            Ok(found.filter(|it| it.range.start() < range.end()))
        };
        let mut seen = first()?;
        for _ in 0..ROUNDS {
            let Some(mapping) = seen else {
                return Ok(None);
            };
            let ours = self.is_ours(mapping.range);
            seen = first()?;
            if seen == Some(mapping) {
                return Ok(Some((mapping.range, ours && !self.give_back(mapping))));
            }
        }
        Ok(seen.map(|mapping| (mapping.range, false)))
    }

    /// Lets go of what is registered and cannot be watched: memory of System V that
    /// took the place of other memory just before that was registered. Whether it
    /// is that.
    fn give_back(&self, mapping: Mapping) -> bool {
        if mapping.sysv {
            self.space.unregister(mapping.range);
            // shmdt has no event.
            self.events.table.invalidate(mapping.range, Reason::Unknown);
        }
        mapping.sysv
    }

    /// Whether a mapping is registered here. Registering it again tells, since it
    /// fails for memory of another userfaultfd; but what is watched by none is not
    /// to be registered now, so the kernel is asked first where it can tell.
    fn is_ours(&self, mapping: Range) -> bool {
        self.shows(mapping) && self.space.register(mapping).is_ok()
    }

    /// Whether the kernel says, where it can, that a mapping is watched by somebody.
    fn shows(&self, mapping: Range) -> bool {
        // Registrations end where mappings end: the first page tells.
        let first = Range::between(mapping.start(), mapping.start() + page_size());
        !self.space.can_look() || self.space.fully_watched(first).unwrap_or(false)
    }
}
