// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is watched of an address space; see `watch` and `unwatch`.

use super::budget::Budget;
use super::handler::Events;
use super::headroom::Headroom;
use super::registered::Registered;
use crate::lock::Mutex;
use crate::memory::Share;
use crate::monitor::guard::Standing;
use std::sync::atomic::AtomicBool;

/// What is registered; behind the lock.
pub(super) struct Watches {
    pub registered: Registered,
    pub headroom: Headroom,
    pub budget: Budget,
}

pub(super) struct Watching<S> {
    pub space: S,
    pub events: Share<Events>,
    pub watches: Mutex<Watches>,
    /// Mappings have begun to be idle: see
    /// [`Backend::begins_to_rest`](crate::monitor::backend::Backend::begins_to_rest).
    pub begins_to_rest: AtomicBool,
}

impl<S> Watching<S> {
    pub fn new(space: S, events: Share<Events>) -> Watching<S> {
        Watching {
            space,
            events,
            watches: Mutex::new(Watches {
                registered: Registered::new(),
                headroom: Headroom::new(),
                budget: Budget::new(),
            }),
            begins_to_rest: AtomicBool::new(false),
        }
    }

    /// Whether the handler is gone, and the descriptor with it.
    pub fn is_dead(&self) -> bool {
        self.events.table.words().guard.standing() == Standing::Dead
    }
}
