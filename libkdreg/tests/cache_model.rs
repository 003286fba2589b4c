// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cache against a naive model: a list of entries, searched from end to
//! end. After every step both must have registered and deregistered exactly
//! the same ranges, which pins down hits, misses, the exact LRU order, and the
//! limits on entries, on bytes and on bytes not yet released.

use kdreg::cache::{Cache, Handle, Held, Options, Registrar};
use kdreg::errno::Errno;
use kdreg::monitor::manual::Manual;
use kdreg::range::Range;
use proptest::prelude::*;
use std::sync::{Arc, Mutex};

const PAGE: usize = 4096;
const BASE: usize = 0x10_0000_0000;

/// A device with so much memory, which remembers what it was asked to do.
#[derive(Default)]
struct Device {
    capacity: usize,
    used: usize,
    registered: Vec<Range>,
    deregistered: Vec<Range>,
    next: usize,
    live: Vec<(usize, Range)>,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Device>>);

impl Registrar for Shared {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        let mut device = self.0.lock().unwrap();
        if device.used + range.len() > device.capacity {
            return Err(Errno::ENOMEM);
        }
        device.used += range.len();
        device.registered.push(range);
        device.next += 1;
        let handle = device.next;
        device.live.push((handle, range));
        Ok(Handle(handle))
    }

    fn deregister(&self, range: Range, handle: Handle) {
        let mut device = self.0.lock().unwrap();
        let place = device
            .live
            .iter()
            .position(|entry| *entry == (handle.0, range));
        let place = place.expect("only what is registered is deregistered, once");
        device.live.swap_remove(place);
        device.used -= range.len();
        device.deregistered.push(range);
    }
}

#[derive(Clone, Debug)]
struct Entry {
    id: usize,
    range: Range,
    last_use: u64,
    held: usize,
    changed: bool,
    /// Findable, as far as the cache knows.
    live: bool,
}

/// What the cache should do, said as simply as possible.
struct Model {
    options: Options,
    capacity: usize,
    entries: Vec<Entry>,
    backlog: Vec<Range>,
    clock: u64,
    ids: usize,
    registered: Vec<Range>,
    deregistered: Vec<Range>,
}

impl Model {
    fn used(&self) -> usize {
        self.entries.iter().map(|e| e.range.len()).sum::<usize>()
            + self.backlog.iter().map(|r| r.len()).sum::<usize>()
    }

    fn release(&mut self, range: Range) {
        let waiting: usize = self.backlog.iter().map(|r| r.len()).sum();
        if self.options.max_unreleased > 0 && waiting + range.len() <= self.options.max_unreleased {
            self.backlog.push(range);
        } else {
            self.deregistered.push(range);
        }
    }

    fn release_backlog(&mut self) -> usize {
        let count = self.backlog.len();
        self.deregistered.append(&mut self.backlog);
        count
    }

    /// Drops entries; those in use stay, unfindable.
    fn drop_where(&mut self, now: bool, which: impl Fn(&Entry) -> bool) -> usize {
        let mut dropped = 0;
        self.entries.sort_by_key(|entry| entry.range.start());
        for entry in std::mem::take(&mut self.entries) {
            if !(entry.live && which(&entry)) {
                self.entries.push(entry);
                continue;
            }
            dropped += 1;
            if entry.held > 0 {
                self.entries.push(Entry {
                    live: false,
                    ..entry
                });
            } else if now {
                self.deregistered.push(entry.range);
            } else {
                self.release(entry.range);
            }
        }
        dropped
    }

    fn reap(&mut self) {
        self.drop_where(true, |entry| entry.changed);
        self.release_backlog();
    }

    /// Evicts the least recently used idle entry not inside `range`.
    fn evict(&mut self, range: Option<Range>, now: bool) -> Option<usize> {
        let (place, _) = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, e)| e.live && e.held == 0 && !range.is_some_and(|r| r.contains(e.range)))
            .min_by_key(|(_, e)| e.last_use)?;
        let victim = self.entries.remove(place);
        if now {
            self.deregistered.push(victim.range);
        } else {
            self.release(victim.range);
        }
        Some(victim.range.len())
    }

    /// Registers with evict-and-retry.
    fn register(&mut self, range: Range) -> bool {
        while self.used() + range.len() > self.capacity {
            if self.release_backlog() > 0 {
                continue;
            }
            let mut freed = 0;
            while freed < range.len() {
                match self
                    .evict(Some(range), true)
                    .or_else(|| self.evict(None, true))
                {
                    Some(length) => freed += length,
                    None => break,
                }
            }
            if freed == 0 {
                return false;
            }
        }
        self.registered.push(range);
        true
    }

    /// Returns the id of the entry now held, or None for ENOMEM.
    fn get(&mut self, range: Range) -> Option<usize> {
        self.clock += 1;
        let clock = self.clock;
        let hit = self
            .entries
            .iter_mut()
            .find(|e| e.live && !e.changed && e.range.contains(range));
        if let Some(entry) = hit {
            (entry.last_use, entry.held) = (clock, entry.held + 1);
            return Some(entry.id);
        }
        self.reap();
        let inside: Vec<Range> = self
            .entries
            .iter()
            .filter(|e| e.live && range.contains(e.range))
            .map(|e| e.range)
            .collect();
        let fits = |model: &Model| {
            let live: Vec<&Entry> = model.entries.iter().filter(|e| e.live).collect();
            let bytes: usize = live.iter().map(|e| e.range.len()).sum();
            let gone: usize = inside.iter().map(|r| r.len()).sum();
            live.len() - inside.len() < model.options.max_entries
                && bytes - gone + range.len() <= model.options.max_bytes
        };
        // Nothing is evicted for what would not fit in the end.
        let evictable = self
            .entries
            .iter()
            .filter(|e| e.live && e.held == 0 && !range.contains(e.range));
        let (count, bytes) = evictable.fold((0, 0), |(c, b), e| (c + 1, b + e.range.len()));
        let live: Vec<&Entry> = self.entries.iter().filter(|e| e.live).collect();
        let all: usize = live.iter().map(|e| e.range.len()).sum();
        let gone: usize = inside.iter().map(|r| r.len()).sum();
        let mut kept = live.len() - inside.len() - count < self.options.max_entries
            && all - gone - bytes + range.len() <= self.options.max_bytes;
        while kept && !fits(self) {
            kept = self.evict(Some(range), false).is_some();
        }
        if !self.register(range) {
            return None;
        }
        if kept {
            self.drop_where(false, |entry| range.contains(entry.range));
        }
        self.ids += 1;
        self.entries.push(Entry {
            id: self.ids,
            range,
            last_use: clock,
            held: 1,
            changed: false,
            live: kept,
        });
        Some(self.ids)
    }

    fn put(&mut self, id: usize) {
        let place = self.entries.iter().position(|e| e.id == id).unwrap();
        self.entries[place].held -= 1;
        if self.entries[place].held == 0 && !self.entries[place].live {
            let entry = self.entries.remove(place);
            self.release(entry.range);
        }
    }
}

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
