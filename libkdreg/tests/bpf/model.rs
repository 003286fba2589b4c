// SPDX-License-Identifier: MIT OR Apache-2.0
//! The backend against a model that remembers everything: nothing changed is ever
//! valid, and nothing unchanged is invalid but for a reason.

use super::daemon::{Daemon, PAGE};
use super::{alone, drain, map, open, page, property};
use kdreg::monitor::bpf::abi;
use kdreg::monitor::{Monitor, Region};
use kdreg::range::Range;
use proptest::prelude::*;

const PAGES: usize = 16;
const CAPACITY: u32 = 64;

#[derive(Clone, Debug)]
enum Step {
    Monitor(usize, usize),
    Unmonitor(usize),
    Change(usize, usize),
    /// So many changes elsewhere.
    Others(u64),
    Begin,
    /// The writer that began first, or last, goes on.
    Finish(bool),
    Raise,
    Lower(bool),
    Check,
    Drain,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..PAGES, 1usize..4).prop_map(|(at, count)| Step::Monitor(at, count)),
        2 => any::<usize>().prop_map(Step::Unmonitor),
        6 => (0..PAGES, 1usize..4).prop_map(|(at, count)| Step::Change(at, count)),
        2 => (1u64..200).prop_map(Step::Others),
        1 => Just(Step::Begin),
        2 => any::<bool>().prop_map(Step::Finish),
        1 => Just(Step::Raise),
        2 => any::<bool>().prop_map(Step::Lower),
        6 => Just(Step::Check),
        2 => Just(Step::Drain),
    ];
    prop::collection::vec(step, 1..100)
}

/// A region, as the model knows it.
struct Known {
    region: Region,
    range: Range,
    /// It must not be valid any more.
    changed: bool,
    /// It need not be valid any more.
    doubtful: bool,
    over: bool,
}

#[derive(Default)]
struct Model {
    regions: Vec<Known>,
    /// Writers that have begun.
    begun: std::collections::VecDeque<u64>,
    /// Entries begun that are not known to be applied.
    unread: u64,
    uncertain: u32,
    /// Something was lost, and nobody has looked since with nothing uncertain.
    lost: bool,
}

impl Model {
    fn doubt_all(&mut self) {
        self.regions
            .iter_mut()
            .for_each(|known| known.doubtful = true);
    }

    /// Whether it can be certain now.
    fn is_certain(&self) -> bool {
        self.begun.is_empty() && self.uncertain == 0
    }

    fn check(&mut self, monitor: &Monitor) {
        // Each look at an entry that is being written waits a little.
        let count = if self.begun.is_empty() {
            self.regions.len()
        } else {
            1
        };
        for known in self.regions.iter().rev().take(count) {
            let valid = monitor.is_valid(known.region);
            assert!(
                !valid || !known.changed && !known.over,
                "{:?} is valid",
                known.range
            );
            assert!(!valid || self.is_certain());
            let must = self.is_certain() && !known.changed && !known.over && !known.doubtful;
            assert!(valid || !must, "{:?} is not valid", known.range);
        }
        if self.is_certain() && !self.regions.is_empty() {
            (self.unread, self.lost) = (0, false);
        }
    }
}

fn range(all: Range, at: usize, count: usize) -> Range {
    Range::new(page(all, at).start(), count.min(PAGES - at) * PAGE).unwrap()
}

#[test]
fn agrees_with_one_that_forgets_nothing() {
    let _alone = alone();
    property(48, steps(), |steps| {
        let daemon = Daemon::honest(abi::MODE_FLUSH, CAPACITY);
        let monitor = open();
        let client = daemon.client();
        let all = map(PAGES * PAGE);
        let mut model = Model::default();
        let elsewhere = 1 << 40;
        for step in steps {
            match step {
                Step::Monitor(at, count) => {
                    let range = range(all, at, count);
                    let region = monitor.monitor(range, 0).unwrap();
                    // What could not be read before may mark it.
                    let doubtful = model.unread > 0 && !model.begun.is_empty()
                        || model.lost
                        || model.uncertain > 0;
                    if model.begun.is_empty() {
                        model.unread = 0;
                    }
                    model.regions.push(Known {
                        region,
                        range,
                        changed: false,
                        doubtful,
                        over: false,
                    });
                }
                Step::Unmonitor(which) => {
                    let count = model.regions.len();
                    if let Some(known) = model.regions.get_mut(which % count.max(1)) {
                        monitor.unmonitor(known.region).unwrap();
                        known.over = true;
                    }
                }
                Step::Change(at, count) => {
                    let range = range(all, at, count);
                    client.change(range.start(), range.end(), 1);
                    model.unread += 1;
                    for known in &mut model.regions {
                        known.changed |= known.range.overlaps(range);
                    }
                }
                Step::Others(count) => {
                    for _ in 0..count {
                        client.change(elsewhere, elsewhere + PAGE, 1);
                    }
                    model.unread += count;
                }
                Step::Begin => {
                    model.begun.push_back(client.begin());
                    model.unread += 1;
                }
                Step::Finish(first) => {
                    let number = if first {
                        model.begun.pop_front()
                    } else {
                        model.begun.pop_back()
                    };
                    if let Some(number) = number {
                        client.finish(number, elsewhere, elsewhere + PAGE, 1);
                    }
                }
                Step::Raise => {
                    daemon.guard.raise();
                    model.uncertain += 1;
                }
                Step::Lower(lost) => {
                    if model.uncertain > 0 {
                        daemon.guard.lower(lost);
                        model.uncertain -= 1;
                        if lost {
                            model.lost = true;
                            for known in &mut model.regions {
                                known.changed = true;
                            }
                        }
                    }
                }
                Step::Check => model.check(&monitor),
                Step::Drain => drop(drain(&monitor)),
            }
            if model.unread > u64::from(CAPACITY) {
                model.doubt_all();
            }
        }
        while let Some(number) = model.begun.pop_front() {
            client.finish(number, elsewhere, elsewhere + PAGE, 1);
        }
        model.check(&monitor);
    });
}
