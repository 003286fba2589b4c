// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cache against a naive model: a list of entries, searched from end to
//! end. After every step both must have registered and deregistered exactly
//! the same ranges, which pins down hits, misses, the exact LRU order, and the
//! limits on entries, on bytes and on bytes not yet released.

mod device;
mod model;

use device::{Device, Shared};
use kdreg::cache::{Cache, Held, Options};
use kdreg::errno::Errno;
use kdreg::monitor::manual::Manual;
use kdreg::range::Range;
use model::Model;
use proptest::prelude::*;
use std::sync::{Arc, Mutex};

const PAGE: usize = 4096;
const BASE: usize = 0x10_0000_0000;

#[derive(Clone, Debug)]
enum Step {
    Get(Range),
    Put(usize),
    Change(Range),
    Invalidate(Range),
    Flush,
    Reap,
}

/// Aligned power-of-two ranges: any two are nested or disjoint, so that which
/// entry serves a request is never a matter of choice.
fn ranges() -> impl Strategy<Value = Range> {
    (0u32..4, 0usize..24).prop_map(|(order, place)| {
        let length = PAGE << order;
        Range::new(BASE + (place * PAGE) / length * length, length).unwrap()
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => ranges().prop_map(Step::Get),
        8 => (0usize..64).prop_map(Step::Put),
        2 => ranges().prop_map(Step::Change),
        1 => ranges().prop_map(Step::Invalidate),
        1 => Just(Step::Reap),
        1 => Just(Step::Flush),
    ];
    prop::collection::vec(step, 1..160)
}

fn sorted(mut ranges: Vec<Range>) -> Vec<(usize, usize)> {
    ranges.sort_by_key(|r| (r.start(), r.end()));
    ranges.into_iter().map(|r| (r.start(), r.end())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1024,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn does_what_the_model_does(
        steps in steps(),
        max_entries in 1usize..9,
        max_pages in 1usize..40,
        unreleased_pages in prop_oneof![Just(0usize), 1usize..12],
        device_pages in prop_oneof![Just(10_000usize), 8usize..40],
    ) {
        let options = Options {
            max_entries,
            max_bytes: max_pages * PAGE,
            max_unreleased: unreleased_pages * PAGE,
            no_merge: true,
            no_reaper: true,
            ..Options::default()
        };
        let capacity = device_pages * PAGE;
        let device = Shared(Arc::new(Mutex::new(Device { capacity, ..Device::default() })));
        let (backend, monitor) = Manual::open().unwrap();
        let cache = Cache::new(&monitor, options.clone(), Box::new(device.clone())).unwrap();
        let mut model = Model {
            options,
            capacity,
            entries: Vec::new(),
            backlog: Vec::new(),
            clock: 0,
            ids: 0,
            registered: Vec::new(),
            deregistered: Vec::new(),
        };
        let mut held: Vec<(Held<'_>, usize)> = Vec::new();
        for step in steps {
            match step {
                Step::Get(range) => match (cache.get(range, 1), model.get(range)) {
                    (Ok(entry), Some(id)) => {
                        prop_assert!(entry.range().contains(range));
                        held.push((entry, id));
                    }
                    (Err(error), None) => prop_assert_eq!(error, Errno::ENOMEM),
                    (real, expected) => prop_assert!(
                        false, "get gave {:?}, the model {expected:?}", real.map(|e| e.range())
                    ),
                },
                Step::Put(pick) => {
                    if !held.is_empty() {
                        let (entry, id) = held.swap_remove(pick % held.len());
                        drop(entry);
                        model.put(id);
                    }
                }
                Step::Change(range) => {
                    backend.change(range);
                    for entry in &mut model.entries {
                        entry.changed |= entry.live && entry.range.overlaps(range);
                    }
                }
                Step::Invalidate(range) => {
                    let dropped = cache.invalidate(range).unwrap();
                    prop_assert_eq!(dropped, model.drop_where(false, |e| e.range.overlaps(range)));
                }
                Step::Flush => {
                    prop_assert_eq!(cache.flush().unwrap(), model.drop_where(false, |_| true));
                    model.release_backlog();
                }
                Step::Reap => {
                    cache.reap().unwrap();
                    model.reap();
                }
            }
            {
                let mut device = device.0.lock().unwrap();
                prop_assert_eq!(
                    sorted(std::mem::take(&mut device.registered)),
                    sorted(std::mem::take(&mut model.registered)),
                    "registered"
                );
                prop_assert_eq!(
                    sorted(std::mem::take(&mut device.deregistered)),
                    sorted(std::mem::take(&mut model.deregistered)),
                    "deregistered"
                );
                prop_assert_eq!(device.used, model.used());
            }
            let statistics = cache.statistics().unwrap();
            let live = model.entries.iter().filter(|e| e.live);
            prop_assert_eq!(statistics.entries as usize, live.clone().count());
            prop_assert_eq!(statistics.bytes as usize, live.map(|e| e.range.len()).sum::<usize>());
            prop_assert!(statistics.entries as usize <= max_entries);
            prop_assert!(statistics.bytes as usize <= max_pages * PAGE);
            prop_assert!(statistics.unreleased_bytes as usize <= unreleased_pages * PAGE);
            prop_assert_eq!(
                statistics.in_use as usize,
                model.entries.iter().filter(|e| e.held > 0).count()
            );
        }
        drop(held);
        drop(cache);
        let device = device.0.lock().unwrap();
        prop_assert!(device.live.is_empty(), "still registered: {:?}", device.live);
        prop_assert_eq!(backend.watched(), 0);
    }

    /// With merging, which registrations are made is the cache's business; that
    /// they cover what was asked for, are within the limits, are never stale
    /// and are all undone is not.
    #[test]
    fn merging_keeps_every_promise(
        steps in prop::collection::vec(
            prop_oneof![
                8 => (0usize..64, 1usize..9, 0u32..4).prop_map(|(s, l, a)| (0, s, l, a)),
                5 => (0usize..64, 0usize..1, 0u32..1).prop_map(|(s, l, a)| (1, s, l, a)),
                2 => (0usize..64, 1usize..4, 0u32..1).prop_map(|(s, l, a)| (2, s, l, a)),
            ],
            1..120,
        ),
        max_pages in 4usize..64,
        max_merge in prop_oneof![Just(0usize), 2usize..16],
    ) {
        let device = Shared(Arc::new(Mutex::new(Device { capacity: usize::MAX, ..Device::default() })));
        let (backend, monitor) = Manual::open().unwrap();
        let options = Options {
            max_bytes: max_pages * PAGE,
            max_merge: max_merge * PAGE,
            no_reaper: true,
            ..Options::default()
        };
        let cache = Cache::new(&monitor, options, Box::new(device.clone())).unwrap();
        let mut held: Vec<Held<'_>> = Vec::new();
        for (kind, start, length, access) in steps {
            match kind {
                0 => {
                    let range = Range::new(BASE + start * PAGE + 100, length * PAGE - 200).unwrap();
                    let entry = cache.get(range, access).unwrap();
                    prop_assert!(entry.range().contains(range));
                    prop_assert_eq!(entry.access() & access, access);
                    prop_assert!(
                        entry.is_valid() || cache.statistics().unwrap().uncached > 0
                    );
                    let registered = device.0.lock().unwrap().live.contains(&(entry.handle().0, entry.range()));
                    prop_assert!(registered, "a held entry is registered");
                    held.push(entry);
                }
                1 => {
                    if !held.is_empty() {
                        held.swap_remove(start % held.len());
                    }
                }
                _ => {
                    let range = Range::new(BASE + start * PAGE, length * PAGE).unwrap();
                    backend.change(range);
                    for entry in &held {
                        prop_assert!(!(entry.range().overlaps(range) && entry.is_valid()), "stale");
                    }
                    prop_assert!(cache.find(range, 0).is_err(), "stale");
                }
            }
            prop_assert!(cache.statistics().unwrap().bytes as usize <= max_pages * PAGE);
        }
        drop(held);
        drop(cache);
        let device = device.0.lock().unwrap();
        prop_assert!(device.live.is_empty(), "still registered: {:?}", device.live);
        prop_assert_eq!(backend.watched(), 0);
    }
}
