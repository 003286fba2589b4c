// SPDX-License-Identifier: MIT OR Apache-2.0
//! Watches that begin and end in a model of an address space.

use super::{Confirmed, Kernel, Model, Page, Watcher, World, range};
use crate::descriptor::Descriptor;
use crate::memory::Share;
use crate::monitor::table::{Matching, Removed, Table};
use crate::monitor::userfaultfd::handler::Events;
use crate::monitor::userfaultfd::unwatch::When;
use crate::monitor::userfaultfd::watching::Watching;
use crate::monitor::{Event, Reason, eventfd};
use std::cell::RefCell;
use std::collections::VecDeque;

/// What is watched of such an address space.
struct Tried {
    watching: Watching<Model>,
    subscriber: u16,
    _announced: Descriptor,
    /// Regions that were confirmed, that had changed by then, and that were not.
    counts: [usize; 3],
}

impl Tried {
    fn new(kernel: Kernel, seed: u64) -> Tried {
        let table = Table::new(0, Matching::ByAddress).unwrap();
        let announced = eventfd::new().unwrap();
        let subscriber = table.subscribe(announced.number()).unwrap();
        let events = Share::new(Events::new(table)).unwrap();
        let world = World {
            pages: [None; super::PAGES],
            asked: 0,
            registered: [0; super::PAGES],
            in_flight: VecDeque::new(),
            confirmed: Vec::new(),
            seed,
            calm: false,
            kernel,
            events: events.clone(),
        };
        Tried {
            watching: Watching::new(Model(RefCell::new(world)), events),
            subscriber,
            _announced: announced,
            counts: [0; 3],
        }
    }

    fn world<T>(&self, of: impl FnOnce(&mut World) -> T) -> T {
        of(&mut self.watching.space.0.borrow_mut())
    }

    fn monitor(&mut self) {
        let (first, count) = self.world(World::some_pages);
        let table = &self.watching.events.table;
        let range = range(first, count);
        match self
            .watching
            .watch(range, || table.insert(self.subscriber, range, 0))
        {
            Ok((slot, generation)) => {
                let region = Confirmed {
                    slot,
                    generation,
                    first,
                    count,
                };
                let valid = self.world(|world| world.is_valid(&region));
                self.counts[usize::from(!valid)] += 1;
                self.world(|world| world.confirmed.push(region));
            }
            Err(_) => {
                self.counts[2] += 1;
                self.watching.unwatch(range, When::Soon);
            }
        }
    }

    fn unmonitor(&mut self) {
        let region = self.world(|world| match world.confirmed.len() {
            0 => None,
            count => {
                let which = world.any(count);
                Some(world.confirmed.swap_remove(which))
            }
        });
        let Some(region) = region else {
            return;
        };
        let table = &self.watching.events.table;
        if let Removed::Armed(range) = table.remove(region.slot, region.generation) {
            let now = self.world(|world| world.any(2)) == 0;
            self.watching
                .unwatch(range, if now { When::Now } else { When::Soon });
        }
    }

    fn drain(&mut self) {
        let mut events = [Event::default(); 4];
        let table = &self.watching.events.table;
        let taken = table.drain(self.subscriber, &mut events);
        self.world(|world| {
            let mut confirmed = std::mem::take(&mut world.confirmed);
            confirmed.retain(|it| world.is_valid(it));
            world.confirmed = confirmed;
        });
        for range in events[..taken].iter().filter_map(|event| event.range) {
            self.watching.unwatch(range, When::Now);
        }
    }

    /// The list loses an entry, as where there is no memory for it.
    fn forget(&mut self) {
        let (first, count) = self.world(World::some_pages);
        self.watching
            .watches
            .lock()
            .registered
            .take(range(first, count));
    }

    fn step(&mut self) {
        match self.world(|world| world.any(8)) {
            0..3 => self.monitor(),
            3 => self.unmonitor(),
            4 => self.drain(),
            5 => {
                self.watching.let_go_of(true);
            }
            _ => self.world(World::interfere),
        }
        self.world(|world| world.check());
    }
}

/// So many address spaces, each gone through so many steps; whether the list loses
/// some of its entries.
fn try_all(kernel: Kernel, spaces: u64, steps: usize, forgets: bool) {
    let mut sum = [0; 3];
    for seed in 1..=spaces {
        let mut tried = Tried::new(kernel, 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        for _ in 0..steps {
            if forgets && tried.world(|world| world.any(4)) == 0 {
                tried.forget();
            }
            tried.step();
        }
        // Nothing is left behind, once all that happened was read.
        tried.world(|world| {
            world.calm = true;
            while !world.in_flight.is_empty() {
                world.read_event();
            }
            world.confirmed.clear();
        });
        tried.watching.events.table.invalidate_all(Reason::Release);
        tried.watching.unregister_everything();
        let ours = |page: &Page| page.watcher == Watcher::Us;
        let left = tried.world(|world| world.pages.iter().flatten().any(ours));
        assert!(!left || forgets, "{seed}");
        sum = std::array::from_fn(|i| sum[i] + tried.counts[i]);
    }
    let [confirmed, changed, refused] = sum;
    println!("{kernel:?}: {confirmed} confirmed, {changed} changed by then, {refused} refused");
    assert!(confirmed > 0);
}

#[test]
fn what_was_confirmed_stays_watched_and_nothing_is_left_behind() {
    try_all(Kernel::Queried, 300, 500, false);
    try_all(Kernel::Queried, 100, 500, true);
    try_all(Kernel::Looks, 100, 500, false);
    // What cannot be told from what is watched is registered, and has events.
    try_all(Kernel::Blind, 100, 50, false);
}
