// SPDX-License-Identifier: GPL-2.0-only

//! Regions that begin and end by the client's calls, one or a batch at a time.

use super::Regions;
use crate::{
    abi::*,
    addresses::Addresses,
    answers::{Added, Outcome, Progress},
    cookies::Cookies,
    request::Request,
    slots::{Slot, Use},
};
use kernel::prelude::*;

impl Regions {
    /// Starts to monitor a region.
    ///
    /// ENOSPC when all slots are in use, be it by events that have not been read, or the cookie is
    /// one too many that the table has to keep in one place; EBUSY when it is in use for something
    /// else.
    pub(crate) fn monitor(&mut self, request: &Request) -> Result<Added> {
        if self.statistics.max == 0 {
            return Err(ENOSPC);
        }
        if self.cookies.is_empty() {
            return Ok(Added::NeedsChunk(0));
        }
        let mut params = Kdreg2MonitoringParams {
            location: KDREG2_LOCATION_NONE,
            generation: 0,
            reserved: 0,
        };
        // SAFETY: There is a bucket, as was just seen.
        let outcome = unsafe { self.add(request, |told| params = told) };
        self.added(matches!(outcome, Ok(Outcome::New)).into());
        Ok(match outcome? {
            Outcome::New => Added::New(params),
            Outcome::Same => Added::Same(params),
            Outcome::NeedsChunk(number) => Added::NeedsChunk(number),
        })
    }

    /// Monitors the regions of `entries` from where `done` says on, and fills in their results.
    /// Returns the number of the chunk that has to be installed to go on; None at the end.
    #[inline(never)]
    pub(crate) fn monitor_entries(
        &mut self,
        addresses: Addresses,
        entries: &mut [KdregMonitorEntry],
        done: &mut Progress,
    ) -> Option<usize> {
        if self.statistics.max == 0 || self.cookies.is_empty() {
            return self.monitor_none(addresses, entries, done);
        }
        let mut new = 0u64;
        let mut missing = None;
        let mut at = done.entries;
        for entry in entries.get_mut(at..).unwrap_or(&mut []) {
            let request = Request::of(addresses, entry);
            // SAFETY: There was a bucket at the beginning, and only `take_chunks` takes any away.
            let outcome = request.and_then(|request| unsafe {
                self.add(&request, |params| Self::accept(entry, &params))
            });
            match outcome {
                Ok(Outcome::New) => new |= 1u64.wrapping_shl(at as u32),
                Ok(Outcome::Same) => {}
                Ok(Outcome::NeedsChunk(number)) => {
                    missing = Some(number);
                    break;
                }
                Err(err) => Self::refuse(entry, err),
            }
            at = at.wrapping_add(1);
        }
        done.entries = at;
        done.new |= new;
        self.added(new.count_ones());
        missing
    }

    /// The same where there is no slot: none is configured, or none has memory yet. Then it stops
    /// at the first region that could be monitored.
    #[cold]
    #[inline(never)]
    fn monitor_none(
        &self,
        addresses: Addresses,
        entries: &mut [KdregMonitorEntry],
        done: &mut Progress,
    ) -> Option<usize> {
        for entry in entries.get_mut(done.entries..).unwrap_or(&mut []) {
            match Request::of(addresses, entry) {
                Ok(_) if self.statistics.max > 0 => return Some(0),
                Ok(_) => Self::refuse(entry, ENOSPC),
                Err(err) => Self::refuse(entry, err),
            }
            done.entries += 1;
        }
        None
    }

    /// Fills in the result of an entry.
    #[inline(always)]
    fn accept(entry: &mut KdregMonitorEntry, params: &Kdreg2MonitoringParams) {
        entry.location = params.location;
        entry.generation = params.generation;
        entry.status = 0;
    }

    /// Fills in the failure of an entry.
    fn refuse(entry: &mut KdregMonitorEntry, err: Error) {
        entry.location = KDREG2_LOCATION_NONE;
        entry.generation = 0;
        entry.status = err.to_errno();
    }

    /// Refuses the entry that comes next.
    pub(crate) fn refuse_next(entries: &mut [KdregMonitorEntry], done: &mut Progress, err: Error) {
        if let Some(entry) = entries.get_mut(done.entries) {
            Self::refuse(entry, err);
            done.entries += 1;
        }
    }

    /// Accounts for `count` regions that [`Regions::add`] added since the lock was taken.
    fn added(&mut self, count: u32) {
        self.statistics.monitored += u64::from(count);
        self.statistics.active += count;
        self.publish();
    }

    /// Monitors a region, of which the caller tells [`Regions::added`] before it lets go of the
    /// lock. `tell` is given its parameters as soon as they are known: before the walk down the
    /// tree, across which they would have to be kept.
    ///
    /// # Safety
    ///
    /// The table of cookies has a bucket.
    #[inline(always)]
    unsafe fn add(
        &mut self,
        request: &Request,
        tell: impl FnOnce(Kdreg2MonitoringParams),
    ) -> Result<Outcome> {
        // SAFETY: As the caller promises.
        let head = unsafe { self.cookies.head_of(&self.slots, request.cookie) };
        if let Some(slot) = Cookies::find_or_room(&self.slots, head, request.cookie)? {
            if slot.range.bounds() != (request.start, request.last)
                || slot.mask.get() != request.mask
            {
                return Err(EBUSY);
            }
            tell(Self::params(slot));
            return Ok(Outcome::Same);
        }
        let (slot, word) = match self.free_list.take(&self.slots, self.statistics.max) {
            Ok(taken) => taken,
            Err(Some(chunk)) => return Ok(Outcome::NeedsChunk(chunk)),
            Err(None) => return Err(ENOSPC),
        };
        // Below `GENERATION_MAX` up to now: what has got there is retired.
        slot.generation.set(slot.generation.get().wrapping_add(1));
        slot.cookie.set(request.cookie);
        slot.mask.set(request.mask);
        slot.tag.set(request.tag);
        slot.set_usage(Use::Active);
        Cookies::insert(head, slot);
        // Who marks the region as changed has to take the lock first, so it will be in its tree.
        let params = Self::params(slot);
        word.validate(params.generation);
        tell(params);
        let class = request.mask.class();
        if self.trees[class].is_empty() {
            self.occupied.add(class);
        }
        // SAFETY: The slot was free, so its node is in no tree. It stays where it is until
        // `take_chunks`, after which the trees are not used again.
        unsafe { self.trees[class].insert(&slot.range, request.start, request.last) };
        Ok(Outcome::New)
    }

    fn params(slot: &Slot) -> Kdreg2MonitoringParams {
        Kdreg2MonitoringParams {
            location: slot.index.get().into(),
            generation: slot.valid_word(),
            reserved: 0,
        }
    }

    /// Stops monitoring a region; no event follows. A cookie that is not known is no error: its
    /// region may have changed a moment ago.
    ///
    /// EINVAL when `location` is out of range, EBADSLT when the cookie is known under other
    /// parameters.
    pub(crate) fn unmonitor(&mut self, cookie: u64, location: u64, generation: u32) -> Result {
        let result = self.remove(cookie, location, generation);
        self.publish();
        result
    }

    /// Stops monitoring the regions of `entries` and fills in their results.
    pub(crate) fn unmonitor_entries(&mut self, entries: &mut [KdregUnmonitorEntry]) {
        for entry in entries {
            entry.status = match self.remove(entry.cookie, entry.location, entry.generation) {
                Ok(()) => 0,
                Err(err) => err.to_errno(),
            };
        }
        self.publish();
    }

    /// Stops monitoring a region; the caller publishes the counters.
    fn remove(&mut self, cookie: u64, location: u64, generation: u32) -> Result {
        if location >= self.statistics.max.into() {
            return Err(EINVAL);
        }
        let Some(head) = self.cookies.head(&self.slots, cookie) else {
            return Ok(());
        };
        let Some(slot) = Cookies::find(&self.slots, head, cookie) else {
            return Ok(());
        };
        let index = slot.index.get();
        if u64::from(index) != location || slot.valid_word() != generation {
            return Err(crate::errno(kernel::bindings::EBADSLT));
        }
        Cookies::remove_from(&self.slots, head, slot);
        self.untree(index);
        self.release(index);
        self.statistics.unmonitored += 1;
        Ok(())
    }

    /// One step of UNMONITOR_ALL: looks at up to `limit` slots from `*cursor` on. Returns whether
    /// there are more.
    pub(crate) fn unmonitor_some(&mut self, cursor: &mut u32, limit: u32) -> bool {
        let end = self.free_list.grown.min(cursor.saturating_add(limit));
        while *cursor < end && self.statistics.active > 0 {
            if self
                .slots
                .get(*cursor)
                .is_some_and(|slot| slot.usage() == Use::Active)
            {
                self.unlink(*cursor);
                self.release(*cursor);
                self.statistics.unmonitored += 1;
            }
            *cursor += 1;
        }
        self.publish();
        *cursor < self.free_list.grown && self.statistics.active > 0
    }
}
