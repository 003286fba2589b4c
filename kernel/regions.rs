// SPDX-License-Identifier: GPL-2.0-only

//! The regions of one descriptor: what the spin lock of its address space protects.
//!
//! Nothing here sleeps, allocates, frees or touches user memory, and every call is short: work on
//! many regions is done in steps, between which the caller can let go of the lock.

use crate::{
    abi::*,
    addresses::Addresses,
    answers::{Added, Outcome, Progress, Statistics, Taken},
    change_mask::{Change, CLASSES},
    cookies::Cookies,
    free_list::FreeList,
    marking::Changing,
    occupied::Occupied,
    request::Request,
    slots::{Chunk, Slot, Slots, Use, CHUNK_SLOTS, GENERATION_MAX, NIL},
    status::Status,
    tree::IntervalTree,
};
use kernel::{alloc::flags::*, container_of, prelude::*, sync::Arc};

/// A list threaded through `Slot::link`, first in, first out.
struct List {
    head: u32,
    tail: u32,
}

impl List {
    const EMPTY: Self = Self {
        head: NIL,
        tail: NIL,
    };
}

/// The regions, their index, and the events about them.
///
/// # Invariants
///
/// - An active slot of class `c` has its range in `trees[c]` and is in `cookies`; no other slot is
///   in a tree or in `cookies`. `c` is one of `occupied` if and only if `trees[c]` is not empty.
/// - A slot with index below `unused.grown` is active, holds an event, is on the free list, or is
///   retired (its generation is [`GENERATION_MAX`] and it is not used again). Slots from there
///   on are free and on no list.
/// - Slots that hold an event are on `events`, or are in a [`Taken`].
pub(crate) struct Regions {
    slots: Slots,
    /// Boxed, as a page full of them has no place on the stack, where what is made begins.
    trees: KBox<[IntervalTree; CLASSES]>,
    /// Whoever has the lock may look at it.
    pub(crate) occupied: Occupied,
    cookies: Cookies,
    events: List,
    unused: FreeList,
    /// Events in [`Taken`]s.
    taken: u32,
    statistics: Statistics,
    status: Arc<Status>,
}

impl Regions {
    /// No regions. May sleep.
    pub(crate) fn new(status: Arc<Status>) -> Result<Self> {
        let trees = KBox::new_uninit(GFP_KERNEL_ACCOUNT | __GFP_ZERO)?;
        Ok(Self {
            slots: Slots::new(),
            // SAFETY: All zeroes is an empty tree: two null pointers.
            trees: unsafe { trees.assume_init() },
            occupied: Occupied::NONE,
            cookies: Cookies::new(),
            events: List::EMPTY,
            unused: FreeList::ALL,
            taken: 0,
            statistics: Statistics::default(),
            status,
        })
    }

    /// What it has besides its own size, and besides slots and their words.
    pub(crate) const BOXED: usize = size_of::<[IntervalTree; CLASSES]>();

    pub(crate) fn statistics(&self) -> Statistics {
        Statistics {
            retired: self.unused.retired,
            ..self.statistics
        }
    }

    /// Whether there is an event to be read.
    pub(crate) fn has_events(&self) -> bool {
        self.events.head != NIL
    }

    // --- Configuration ---------------------------------------------------------------------

    /// Takes all slots out of use until [`Regions::resume`]; EBUSY when some are used. Returns how
    /// many there were.
    pub(crate) fn suspend(&mut self) -> Result<u32> {
        let s = &mut self.statistics;
        if s.active != 0 || s.pending != 0 || self.taken != 0 {
            return Err(EBUSY);
        }
        Ok(core::mem::take(&mut s.max))
    }

    /// Goes on with `max` slots as [`Regions::suspend`] left them.
    pub(crate) fn resume(&mut self, max: u32) {
        self.statistics.max = max;
    }

    /// Goes on with `max` slots and an empty free list. Generations go on where they were, so no
    /// old parameters ever match again. `table` has room for `max` slots; what is left in it
    /// is for the caller to free.
    pub(crate) fn reconfigure(&mut self, max: u32, table: &mut Slots) {
        self.slots.enlarge(table);
        self.unused = FreeList::ALL;
        self.statistics.max = max;
    }

    /// Ends everything: no region, no event, no slot is left. The caller frees the chunks.
    pub(crate) fn take_chunks(&mut self) -> Slots {
        // INVARIANT: There is no slot any more, and the trees start anew: the old ones are
        // forgotten without touching their nodes again.
        for tree in self.trees.iter_mut() {
            *tree = IntervalTree::new();
        }
        self.occupied = Occupied::NONE;
        self.cookies.clear();
        self.events = List::EMPTY;
        self.unused = FreeList::ALL;
        self.taken = 0;
        let s = &mut self.statistics;
        s.max = 0;
        s.active = 0;
        s.pending = 0;
        self.status.set_active(0);
        self.status.set_events(0, s.total);
        self.slots.take()
    }

    /// Gives the slots of chunk `number` their memory. A chunk that is not needed is handed back.
    pub(crate) fn install(&mut self, number: usize, chunk: Chunk) -> Option<Chunk> {
        let unused = self.slots.install(number, chunk);
        if unused.is_none() {
            self.cookies
                .grow(&self.slots, ((number + 1) * CHUNK_SLOTS) as u32);
        }
        unused
    }

    // --- Slots -----------------------------------------------------------------------------

    /// Puts a slot, which is in no tree and on no list, back on the free list.
    fn release(&mut self, index: u32) {
        let Some((slot, word)) = self.slots.get_with_word(index) else {
            return;
        };
        slot.set_usage(Use::Free);
        // INVARIANT: The slot goes to the free list, or is retired.
        if slot.generation.get() >= GENERATION_MAX {
            self.unused.retired += 1;
            word.set(0);
            return;
        }
        slot.link.set(self.unused.free);
        let next = if self.unused.free != NIL {
            self.unused.free
        } else if self.unused.grown < self.statistics.max {
            self.unused.grown
        } else {
            GENERATION_MAX
        };
        word.set(next << 1);
        self.unused.free = index;
    }

    /// Takes an active slot out of the table of cookies and its tree. The caller gives it another
    /// use, and publishes the counters.
    fn unlink(&mut self, index: u32) {
        let Some(slot) = self
            .slots
            .get(index)
            .filter(|slot| slot.usage() == Use::Active)
        else {
            return;
        };
        self.cookies.remove(&self.slots, slot);
        self.untree(index);
    }

    /// The second half of that.
    fn untree(&mut self, index: u32) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        let class = slot.wanted.get().class();
        // SAFETY: By the type invariants an active slot is in this tree.
        unsafe { self.trees[class].remove(&slot.range) };
        if self.trees[class].is_empty() {
            self.occupied.remove(class);
        }
        self.statistics.active -= 1;
    }

    /// Shows the counters to the client: before the lock is let go of, once for all that was done
    /// under it. The words that the events are about have been changed before.
    fn publish(&self) {
        let s = &self.statistics;
        self.status.set_active(s.active);
        self.status.set_events(s.pending, s.total);
    }

    // --- Monitoring ------------------------------------------------------------------------

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
                || slot.wanted.get() != request.wanted
            {
                return Err(EBUSY);
            }
            tell(Self::params(slot));
            return Ok(Outcome::Same);
        }
        let (slot, word) = match self.unused.take(&self.slots, self.statistics.max) {
            Ok(taken) => taken,
            Err(Some(chunk)) => return Ok(Outcome::NeedsChunk(chunk)),
            Err(None) => return Err(ENOSPC),
        };
        // Below `GENERATION_MAX` up to now: what has got there is retired.
        slot.generation.set(slot.generation.get().wrapping_add(1));
        slot.cookie.set(request.cookie);
        slot.wanted.set(request.wanted);
        slot.tag.set(request.tag);
        slot.set_usage(Use::Active);
        Cookies::insert(head, slot);
        // Who marks the region as changed has to take the lock first, so it will be in its tree.
        let params = Self::params(slot);
        word.validate(params.generation);
        tell(params);
        let class = request.wanted.class();
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
        let end = self.unused.grown.min(cursor.saturating_add(limit));
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
        *cursor < self.unused.grown && self.statistics.active > 0
    }

    // --- Invalidation ----------------------------------------------------------------------

    /// Whether no region is monitored.
    #[inline(always)]
    pub(crate) fn is_idle(&self) -> bool {
        self.statistics.active == 0
    }

    /// Marks up to `limit` of the regions that overlap the range, and that the change concerns, as
    /// changed. Returns how many it marked; fewer than `limit` means that none is left.
    pub(crate) fn mark(&mut self, changing: &Changing, limit: u32) -> u32 {
        let marked = self.mark_up_to(changing, limit);
        if marked > 0 {
            self.publish();
        }
        marked
    }

    /// Does it; the caller publishes the counters.
    #[inline(always)]
    fn mark_up_to(&mut self, changing: &Changing, limit: u32) -> u32 {
        let &Changing {
            start,
            last,
            change,
        } = changing;
        let mut marked = 0;
        for word in 0..CLASSES / 64 {
            // Nothing is added meanwhile; what is taken out is not found.
            let mut rest = self.occupied.word(word);
            // Most words are empty, and nothing is worked out for those.
            if rest == 0 {
                continue;
            }
            while rest != 0 {
                let class = word * 64 + rest.trailing_zeros() as usize;
                rest &= rest - 1;
                if !change.concerns(class) {
                    continue;
                }
                while let Some(node) = self.trees[class].first_overlap(start, last) {
                    if marked == limit {
                        return marked;
                    }
                    // SAFETY: By the type invariants every node in `trees` is the `range` of a slot,
                    // which stays where it is while we are in here.
                    let index = unsafe { (*container_of!(node.as_ptr(), Slot, range)).index.get() };
                    self.changed(index, change);
                    marked += 1;
                }
            }
        }
        marked
    }

    /// A monitored region changed: first the word, then the event.
    #[inline(never)]
    fn changed(&mut self, index: u32, change: Change) {
        self.unlink(index);
        let Some((slot, word)) = self.slots.get_with_word(index) else {
            return;
        };
        slot.set_usage(Use::Event);
        // The word loses its lowest bit, so it matches no parameters.
        word.set(slot.generation.get() << 1);
        slot.wanted.set(slot.wanted.get().answer(change));
        // INVARIANT: The slot goes to the end of the list of events.
        slot.link.set(NIL);
        match self.slots.get(self.events.tail) {
            Some(tail) => tail.link.set(index),
            None => self.events.head = index,
        }
        self.events.tail = index;
        let s = &mut self.statistics;
        s.pending += 1;
        s.total += 1;
        if let Some(count) = s.by_change.get_mut(usize::from(change.bit)) {
            *count += 1;
        }
    }

    // --- Events ----------------------------------------------------------------------------

    /// Takes the first events off the list, and says in `out` what they are. Each slot stays in
    /// use until [`Regions::finish_events`] is told what became of its event.
    pub(crate) fn take_events(&mut self, out: &mut [Kdreg2Event]) -> Taken {
        let mut taken = Taken {
            head: self.events.head,
            tail: NIL,
            count: 0,
        };
        for event in out {
            let Some(slot) = self.slots.get(self.events.head) else {
                break;
            };
            let (addr, len, cookie) = slot.region();
            *event = Kdreg2Event {
                kind: KDREG2_EVENT_MAPPING_CHANGE,
                reason: slot.wanted.get().reason(),
                addr,
                len,
                cookie,
            };
            taken.tail = slot.index.get();
            taken.count += 1;
            self.events.head = slot.link.get();
        }
        self.taken_off(&taken);
        taken
    }

    /// Takes all events off the list, for FLUSH.
    pub(crate) fn take_all_events(&mut self) -> Taken {
        let taken = Taken {
            head: self.events.head,
            tail: self.events.tail,
            count: self.statistics.pending,
        };
        self.events = List::EMPTY;
        self.taken_off(&taken);
        taken
    }

    fn taken_off(&mut self, taken: &Taken) {
        if self.events.head == NIL {
            self.events.tail = NIL;
        }
        if let Some(tail) = self.slots.get(taken.tail) {
            tail.link.set(NIL);
        }
        self.taken += taken.count;
        let s = &mut self.statistics;
        s.pending -= taken.count;
        self.status.set_events(s.pending, s.total);
    }

    /// Lets go of the slots of the first `count` events of `taken`: they reached the client, or
    /// are discarded.
    pub(crate) fn finish_events(&mut self, taken: &mut Taken, count: u32) {
        for _ in 0..count.min(taken.count) {
            let index = taken.head;
            let Some(slot) = self.slots.get(index) else {
                break;
            };
            taken.head = slot.link.get();
            taken.count -= 1;
            self.taken -= 1;
            self.release(index);
        }
    }

    /// Puts events that did not reach the client back to the front of the list.
    pub(crate) fn return_events(&mut self, taken: Taken) {
        let Some(tail) = self.slots.get(taken.tail) else {
            return;
        };
        if taken.count == 0 {
            return;
        }
        tail.link.set(self.events.head);
        if self.events.head == NIL {
            self.events.tail = taken.tail;
        }
        self.events.head = taken.head;
        self.taken -= taken.count;
        let s = &mut self.statistics;
        s.pending += taken.count;
        self.status.set_events(s.pending, s.total);
    }
}
