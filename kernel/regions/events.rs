// SPDX-License-Identifier: GPL-2.0-only

//! The events about regions that have changed, in the order in which they did.

use super::Regions;
use crate::{
    abi::*,
    answers::Taken,
    slots::{Slot, Slots, NIL},
};

/// A list threaded through `Slot::link`, first in, first out.
pub(super) struct List {
    head: u32,
    tail: u32,
}

impl List {
    pub(super) const EMPTY: Self = Self {
        head: NIL,
        tail: NIL,
    };

    /// Puts a slot, which is on no list, at the end.
    #[inline(always)]
    pub(super) fn append(&mut self, slots: &Slots, slot: &Slot) {
        let index = slot.index.get();
        slot.link.set(NIL);
        match slots.get(self.tail) {
            Some(tail) => tail.link.set(index),
            None => self.head = index,
        }
        self.tail = index;
    }
}

impl Regions {
    /// Whether there is an event to be read.
    pub(crate) fn has_events(&self) -> bool {
        self.events.head != NIL
    }

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
                reason: slot.mask.get().reason(),
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
