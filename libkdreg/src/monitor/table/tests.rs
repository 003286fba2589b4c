// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;
use crate::descriptor::Descriptor;
use crate::monitor::eventfd;
use std::collections::BTreeSet;

fn table(matching: Matching) -> Table {
    Table::new(0, matching).unwrap()
}

/// A subscriber, and its descriptor, which is to live as long.
fn subscribe(table: &Table) -> (u16, Descriptor) {
    let announced = eventfd::new().unwrap();
    (table.subscribe(announced.number()).unwrap(), announced)
}

fn pages(first: usize, count: usize) -> Range {
    Range::between((first + 1) << 12, (first + 1 + count) << 12)
}

/// The cookies of all events, in their order.
fn drain(table: &Table, subscriber: u16) -> Vec<u64> {
    let mut events = vec![Event::default(); 1 << 10];
    let taken = table.drain(subscriber, &mut events);
    events[..taken].iter().map(|event| event.cookie).collect()
}

fn is_valid(table: &Table, (slot, generation): (u32, u32)) -> bool {
    table.words().at(slot).load(Ordering::Acquire) == generation
}

#[test]
fn a_subscribers_place_serves_again() {
    let table = table(Matching::ByAddress);
    let [(first, _a), (second, _b)] = [(); 2].map(|()| subscribe(&table));
    assert_ne!(first, second);
    table.unsubscribe(first);
    assert_eq!(subscribe(&table).0, first);
}

#[test]
fn events_are_taken_in_their_order_and_go_with_their_region() {
    let table = table(Matching::ByAddress);
    let (subscriber, _eventfd) = subscribe(&table);
    let (other, _eventfd) = subscribe(&table);
    let elsewhere = table.insert(other, pages(50, 1), 50).unwrap();
    // Which event's region is removed meanwhile: first, between, last, all.
    for removed in [vec![0], vec![1], vec![3], vec![1, 2], vec![0, 1, 2, 3]] {
        let insert = |n: u64| table.insert(subscriber, pages(n as usize, 1), n).unwrap();
        let regions: Vec<_> = (0..4).map(insert).collect();
        assert!(!table.pending(subscriber) && !table.any_pending());
        for n in 0..4 {
            table.invalidate(pages(n, 1), Reason::Unmap);
        }
        assert!(table.pending(subscriber) && table.any_pending() && !table.pending(other));
        for &n in &removed {
            let (slot, generation) = regions[n];
            // What another region of that slot was called.
            for wrong in [generation + 2, generation + 1, generation.wrapping_sub(2)] {
                assert_eq!(table.remove(slot, wrong), Removed::Changed);
            }
            assert_eq!(table.remove(slot, generation), Removed::Changed);
        }
        let left: Vec<_> = (0..4)
            .filter(|&n| !removed.contains(&(n as usize)))
            .collect();
        assert_eq!(table.pending(subscriber), !left.is_empty());
        assert_eq!(drain(&table, subscriber), left);
        assert!(!table.pending(subscriber) && !table.any_pending());
    }
    assert_eq!(table.activity().changes[Reason::Unmap as usize], 5 * 4);
    assert!(is_valid(&table, elsewhere));
    assert_eq!(table.next_of(subscriber, 0), None);
    assert_eq!(table.next_of(other, 0), Some(elsewhere));
    assert_eq!(table.next_of(other, elsewhere.0 + 1), None);
}

#[test]
fn regions_are_found_by_who_subscribed() {
    let table = table(Matching::ByAddress);
    let (subscriber, _a) = subscribe(&table);
    let (other, _b) = subscribe(&table);
    // More than are looked at in one hold of the lock.
    for n in 0..5000 {
        table.insert(other, pages(n, 1), 0).unwrap();
    }
    let armed = table.insert(subscriber, pages(5000, 1), 1).unwrap();
    let changed = table.insert(subscriber, pages(5001, 1), 2).unwrap();
    table.invalidate(pages(5001, 1), Reason::Unmap);
    assert_eq!(table.next_of(subscriber, 0), Some(armed));
    assert_eq!(table.next_of(subscriber, armed.0 + 1), Some(changed));
    assert_eq!(table.next_of(subscriber, changed.0 + 1), None);
}

#[test]
fn everything_changes_a_batch_at_a_time() {
    let table = table(Matching::ByAddress);
    let (subscriber, _eventfd) = subscribe(&table);
    let regions: Vec<_> = (0..BATCH + 1)
        .map(|n| table.insert(subscriber, pages(0, 1), n as u64).unwrap())
        .collect();
    let beside = table.insert(subscriber, pages(1, 1), 0).unwrap();
    assert!(table.watches(pages(0, 1)) && table.watches(pages(0, 9)));
    assert!(!table.watches(pages(2, 9)));
    let valid = || regions.iter().filter(|&&it| is_valid(&table, it)).count();
    let some = |table: &Table| table.try_invalidate_some(pages(0, 1), Reason::Unmap);
    {
        let _held = table.lock();
        assert_eq!(some(&table), None);
        assert!(!table.try_invalidate(pages(0, 1), Reason::Unmap));
        assert!(table.try_activity().is_none());
    }
    assert_eq!(valid(), BATCH + 1);
    assert_eq!(some(&table), Some(true));
    assert_eq!(valid(), 1);
    assert_eq!(some(&table), Some(false));
    assert_eq!(valid(), 0);
    let activity = table.try_activity().unwrap();
    assert_eq!((activity.regions, table.armed()), (1, 1));
    assert_eq!(activity.changes[Reason::Unmap as usize], BATCH as u64 + 1);
    assert_eq!(activity.name, table.activity().name);
    assert!(is_valid(&table, beside) && !table.watches(pages(0, 1)));
    assert_eq!(drain(&table, subscriber).len(), BATCH + 1);
    table.invalidate_all(Reason::Lost);
    assert!(!is_valid(&table, beside) && table.armed() == 0);
    let mut event = [Event::default()];
    assert_eq!(table.drain(subscriber, &mut event), 1);
    let (range, reason) = (Some(pages(1, 1)), Reason::Lost);
    assert_eq!((event[0].range, event[0].reason), (range, reason));
}

#[test]
fn all_but_one_change() {
    // The one that stays is met first, last, and between two batches.
    for stays in [0, BATCH, BATCH + 1] {
        let table = table(Matching::ByAddress);
        let (subscriber, _eventfd) = subscribe(&table);
        let regions: Vec<_> = (0..BATCH + 2)
            .map(|n| table.insert(subscriber, pages(0, 1), n as u64).unwrap())
            .collect();
        let beside = table.insert(subscriber, pages(1, 1), 0).unwrap();
        table.invalidate_others(pages(0, 1), regions[stays].0, Reason::Unknown);
        let valid = regions.iter().filter(|&&it| is_valid(&table, it));
        assert!(valid.eq([&regions[stays]]) && is_valid(&table, beside));
        assert_eq!((table.armed(), table.any_pending()), (2, true));
        assert_eq!(drain(&table, subscriber).len(), BATCH + 1);
    }
}

#[test]
fn nothing_is_valid_once_the_table_is_gone() {
    let table = table(Matching::ByAddress);
    let words = table.words();
    let (subscriber, _eventfd) = subscribe(&table);
    let (slot, generation) = table.insert(subscriber, pages(0, 1), 0).unwrap();
    drop(table);
    // Whoever has the words now counts on from there.
    assert_ne!(words.at(slot).load(Ordering::Acquire), generation);
}

#[test]
fn what_is_matched_elsewhere_goes_by_its_name_there() {
    let table = table(Matching::BySlot);
    let (subscriber, _eventfd) = subscribe(&table);
    let insert = |cookie| table.insert(subscriber, pages(0, 1), cookie).unwrap();
    let (first, second) = (insert(1), insert(2));
    let name = |n: u32| Outer {
        generation: n,
        word: n as usize * 64,
    };
    // Not named yet: nothing goes by no name.
    let unnamed = name(0);
    assert_eq!(table.outer(first.0, first.1), Some(unnamed));
    assert_eq!(table.remove_outer(first.0, unnamed), None);
    table.set_outer(first.0, first.1, name(5));
    table.set_outer(second.0, second.1 + 2, name(9));
    assert_eq!(table.outer(first.0, first.1), Some(name(5)));
    assert_eq!(table.outer(first.0, first.1 + 2), None);
    assert_eq!(table.outer(second.0, second.1), Some(unnamed));
    table.set_outer(second.0, second.1, name(6));
    // Nobody has gone, by a wrong name, slot or generation.
    assert_eq!(table.remove_outer(first.0, name(6)), None);
    let fresh = table.lock().shape.fresh;
    assert_eq!(table.remove_outer(fresh, name(5)), None);
    table.invalidate_slot(first.0, first.1 + 2, Reason::Unmap);
    table.invalidate_slot(fresh, 0, Reason::Unmap);
    table.invalidate_slot(u32::MAX, first.1, Reason::Unmap);
    assert!(is_valid(&table, first) && table.armed() == 2 && !table.any_pending());
    // Changed, by the kernel's word: once, and told by its name still.
    table.invalidate_slot(first.0, first.1, Reason::Unmap);
    assert!(!is_valid(&table, first) && is_valid(&table, second) && table.armed() == 1);
    table.invalidate_slot(first.0, first.1, Reason::Unmap);
    table.invalidate_slot(first.0, first.1 + 1, Reason::Unmap);
    assert_eq!(table.activity().changes[Reason::Unmap as usize], 1);
    assert!(table.outer(first.0, first.1).is_some());
    assert_eq!(table.outer(first.0, first.1 + 1), None);
    assert_eq!(table.remove_outer(second.0, name(6)), Some(second.1));
    assert!(!is_valid(&table, second) && table.armed() == 0);
    assert_eq!(table.outer(second.0, second.1), None);
    assert_eq!(table.remove_outer(second.0, name(6)), None);
    assert_eq!(drain(&table, subscriber), [1]);
    // A changed one that is removed takes its event with it.
    let third = insert(3);
    table.set_outer(third.0, third.1, name(7));
    table.invalidate_slot(third.0, third.1, Reason::Unmap);
    assert_eq!(table.remove_outer(third.0, name(7)), None);
    assert!(!table.any_pending() && drain(&table, subscriber).is_empty());
}

#[test]
fn as_many_regions_as_the_limit_says() {
    assert!(Table::new(MAX_REGIONS + 1, Matching::BySlot).is_err());
    assert!(Table::new(MAX_REGIONS, Matching::BySlot).is_ok());
    let table = Table::new(2, Matching::ByAddress).unwrap();
    let (subscriber, _eventfd) = subscribe(&table);
    let first = table.insert(subscriber, pages(0, 1), 0).unwrap();
    table.insert(subscriber, pages(0, 1), 0).unwrap();
    let third = table.insert(subscriber, pages(0, 1), 0);
    assert_eq!(third, Err(Errno::ENOSPC));
    assert_eq!(table.remove(first.0, first.1), Removed::Armed(pages(0, 1)));
    assert!(table.insert(subscriber, pages(0, 1), 0).is_ok());
}

/// A region as the naive model has it.
#[derive(Clone, Copy)]
struct Known {
    name: (u32, u32),
    range: Range,
    cookie: u64,
    subscriber: usize,
    changed: bool,
}

/// Steps of a table and of a list that is searched from end to end.
#[test]
fn a_table_agrees_with_a_list() {
    let table = table(Matching::ByAddress);
    let subscribers = [(); 3].map(|()| subscribe(&table));
    let mut known: Vec<Known> = Vec::new();
    let mut gone: Vec<(u32, u32)> = Vec::new();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut any = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    for step in 0..2000 {
        let (range, subscriber) = (pages(any(40), 1 + any(6)), any(3));
        let id = subscribers[subscriber].0;
        match any(8) {
            0..4 => {
                let cookie = step as u64;
                let name = table.insert(id, range, cookie).unwrap();
                known.push(Known {
                    name,
                    range,
                    cookie,
                    subscriber,
                    changed: false,
                });
            }
            4 => {
                table.invalidate(range, Reason::Unmap);
                for it in known.iter_mut().filter(|it| it.range.overlaps(range)) {
                    it.changed = true;
                }
            }
            5 if !known.is_empty() => {
                let it = known.swap_remove(any(known.len()));
                let expected = if it.changed {
                    Removed::Changed
                } else {
                    Removed::Armed(it.range)
                };
                assert_eq!(table.remove(it.name.0, it.name.1), expected);
                gone.push(it.name);
            }
            6 if !gone.is_empty() => {
                let (slot, generation) = gone[any(gone.len())];
                assert_eq!(table.remove(slot, generation), Removed::Changed);
            }
            _ => {
                let mut events = [Event::default(); 3];
                let events = &mut events[..1 + any(3)];
                let is_waiting = |it: &&Known| it.changed && it.subscriber == subscriber;
                let waiting = known.iter().filter(is_waiting).count();
                let taken = table.drain(id, events);
                assert_eq!(taken, waiting.min(events.len()));
                for event in &events[..taken] {
                    let at = known.iter().position(|it| it.cookie == event.cookie);
                    let it = known.swap_remove(at.unwrap());
                    assert!(it.changed && it.subscriber == subscriber);
                    assert_eq!(event.range, Some(it.range));
                    gone.push(it.name);
                }
            }
        }
        let armed = || known.iter().filter(|it| !it.changed);
        assert_eq!(table.armed() as usize, armed().count());
        assert_eq!(
            table.watches(range),
            armed().any(|it| it.range.overlaps(range))
        );
        assert_eq!(table.any_pending(), known.iter().any(|it| it.changed));
        let waits = |it: &Known| it.changed && it.subscriber == subscriber;
        assert_eq!(table.pending(id), known.iter().any(waits));
        assert!(
            known
                .iter()
                .all(|it| is_valid(&table, it.name) != it.changed)
        );
        assert!(gone.iter().all(|&name| !is_valid(&table, name)));
        let mut listed = BTreeSet::new();
        let mut from = 0;
        while let Some(name) = table.next_of(id, from) {
            assert!(listed.insert(name));
            from = name.0 + 1;
        }
        let of = known.iter().filter(|it| it.subscriber == subscriber);
        assert_eq!(listed, of.map(|it| it.name).collect());
    }
}
