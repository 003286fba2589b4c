// SPDX-License-Identifier: MIT OR Apache-2.0
//! Subscribers of a backend that keeps its regions in a [`Table`]: the system
//! calls that the table itself must not make.

use super::backend::Subscriber;
use super::table::{Removed, Table};
use super::{Event, eventfd};
use crate::errno::Errno;
use crate::range::Range;

/// Subscribes to a table.
pub(super) fn begin(table: &Table) -> Result<Subscriber, Errno> {
    let event_fd = eventfd::new()?;
    let id = table.subscribe(event_fd.number())?;
    Ok(Subscriber {
        id,
        event_fd,
        poll_fd: None,
    })
}

/// Unsubscribes from a table; `unwatch` is told of every region that was armed.
pub(super) fn end(table: &Table, subscriber: &Subscriber, mut unwatch: impl FnMut(Range)) {
    let mut from = 0;
    while let Some((slot, generation)) = table.next_of(subscriber.id, from) {
        if let Removed::Armed(range) = table.remove(slot, generation) {
            unwatch(range);
        }
        from = slot; // the slot may have become Pending instead: look again
    }
    table.unsubscribe(subscriber.id);
}

/// Drains a table's queue for a subscriber.
pub(super) fn drain(table: &Table, subscriber: &Subscriber, events: &mut [Event]) -> usize {
    // Cleared first: an event queued from here on makes it readable again,
    // while one queued before is taken below or announced again at the end.
    eventfd::clear(&subscriber.event_fd);
    let taken = table.drain(subscriber.id, events);
    if table.pending(subscriber.id) {
        eventfd::signal(subscriber.event_fd.number());
    }
    taken
}
