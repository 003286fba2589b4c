// SPDX-License-Identifier: MIT OR Apache-2.0
//! Telling a cache that a range is gone.

use super::{Context, Place};
use crate::layout::{Key, Layout, PAGE, Random, Regions};
use crate::measure::{Lane, thread_time};
use crate::subjects::{NO_SUCH_THING, Setup};
use std::time::{Duration, Instant};

/// The axis of a run of invalidations.
pub const THOUSAND: &str = "the thousand that ends with";

const UCX_LRU: &str = "UCX: ucs_rcache, LRU";

pub fn run(context: &Context) -> Result<(), String> {
    let sizes: &[usize] = context.effort.pick(
        &[10],
        &[1, 100, 10_000],
        &[1, 10, 100, 1000, 10_000, 100_000],
    );
    let sizes = context.sizes(sizes);
    for &count in &sizes {
        covering_none(context, count)?;
    }
    covering_some(context, sizes[sizes.len() - 1])?;
    let many = context.at_most(context.effort.pick(100, 3_000, 30_000));
    disjoint(context, many)?;
    replaced(context, many)
}

/// Whether a cache by itself can be told that a range is gone.
pub fn can_be_told(name: &str) -> bool {
    // Without a monitor there are no entries to be told of. UCX's
    // announcement goes to all its caches in the process: there must be one.
    !name.ends_with(": none") && name != UCX_LRU
}

/// The caches that can be told, filled.
fn lanes(context: &Context, place: Place, regions: &Regions) -> Vec<Lane> {
    let mut lanes = Vec::new();
    let caches = context.field.caches_and_variants();
    for subject in caches {
        if !can_be_told(&subject.name) {
            continue;
        }
        context.progress(&format!(
            "{}, {} regions: filling {}",
            place.chart,
            regions.len(),
            subject.name
        ));
        let setup = Setup {
            max_entries: regions.len() + 8,
            no_reaper: true,
        };
        let filled = Lane::open(&subject, regions, setup).and_then(|lane| {
            // First whether it can be told at all, then the filling.
            lane.cache.invalidate(lane.keys[0].addr, PAGE)?;
            lane.fill().map(|_| lane)
        });
        match filled {
            Ok(lane) => lanes.push(lane),
            Err(why) if why == NO_SUCH_THING => {}
            Err(why) => context.no_number(place, &subject.name, &why),
        }
    }
    lanes
}

fn covering_none(context: &Context, count: usize) -> Result<(), String> {
    let at = count.to_string();
    let random = Place {
        chart: "covering none, random ranges",
        axis: "regions",
        at: &at,
        unit: context.time(),
    };
    let same = Place {
        chart: "covering none, the same range again and again",
        ..random
    };
    let regions = Regions::new(Layout::Gapped, count);
    let lanes = lanes(context, random, &regions);
    let (calls, rounds) = context.effort.pick((10, 2), (2_000, 5), (20_000, 9));
    for place in [random, same] {
        let mut values = vec![Vec::new(); lanes.len()];
        let nowhere: Vec<Vec<usize>> = lanes
            .iter()
            .map(|lane| regions.between(&lane.arena, calls * rounds))
            .collect();
        for round in 0..rounds {
            for ((lane, values), nowhere) in lanes.iter().zip(&mut values).zip(&nowhere) {
                let nowhere = match place.chart == same.chart {
                    true => &nowhere[..1],
                    false => &nowhere[round * calls..][..calls],
                };
                let start = thread_time();
                for addr in nowhere.iter().cycle().take(calls) {
                    lane.cache.invalidate(*addr, PAGE)?;
                }
                values.push((thread_time() - start).as_secs_f64() * 1e9 / calls as f64);
            }
        }
        for (lane, values) in lanes.iter().zip(&values) {
            context.row(place, &lane.name, values, "");
        }
    }
    Ok(())
}

fn covering_some(context: &Context, count: usize) -> Result<(), String> {
    let regions = Regions::new(Layout::Packed, count);
    let chart = format!("covering k of {count}");
    let place = Place {
        chart: &chart,
        axis: "regions covered",
        at: "",
        unit: context.time(),
    };
    let lanes = lanes(context, place, &regions);
    let rounds = context.effort.pick(2, 5, 15);
    let mut random = Random::new(3);
    for covered in [1, 10, 100, 1000] {
        if covered * 4 > count {
            break;
        }
        context.progress(&format!("{chart}: {covered}"));
        let at = covered.to_string();
        let place = Place { at: &at, ..place };
        let mut values = vec![Vec::new(); lanes.len()];
        for _ in 0..rounds {
            // All on one side of the hole.
            let first = random.below(count / 2 - covered);
            for (lane, values) in lanes.iter().zip(&mut values) {
                let gone = &lane.keys[first..first + covered];
                let (start, end) = (gone[0].addr, end_of(&gone[covered - 1]));
                let clock = Instant::now();
                lane.cache.invalidate(start, end - start)?;
                values.push(clock.elapsed().as_secs_f64() * 1e9);
                // Back again, for the next round.
                lane.cache.hit(gone)?;
            }
        }
        for (lane, values) in lanes.iter().zip(&values) {
            context.row(place, &lane.name, values, "");
        }
    }
    Ok(())
}

fn end_of(key: &Key) -> usize {
    key.addr + key.length as usize
}

/// One after the other, with no lookup in between: nothing may pile up that
/// makes the later ones slower.
fn disjoint(context: &Context, count: usize) -> Result<(), String> {
    let chart = format!("{count} disjoint ranges, no lookup in between");
    let regions = Regions::new(Layout::Packed, count);
    let place = Place {
        chart: &chart,
        axis: THOUSAND,
        at: "",
        unit: context.time(),
    };
    let lanes = lanes(context, place, &regions);
    let tell = |lane: &Lane, key: &Key| lane.cache.invalidate(key.addr, key.length as usize);
    one_by_one(context, place, &lanes, tell)
}

/// The same by the application itself: another mapping takes each region's place.
fn replaced(context: &Context, count: usize) -> Result<(), String> {
    let chart = format!("mmap(MAP_FIXED) over each of {count} regions");
    let regions = Regions::new(Layout::Packed, count);
    let place = Place {
        chart: &chart,
        axis: THOUSAND,
        at: "",
        unit: context.time(),
    };
    // A cache without a monitor is told nothing by the system.
    let mut lanes = lanes(context, place, &regions);
    lanes.retain(|lane| lane.name.starts_with("libkdreg: ") && !lane.name.ends_with("(Rust)"));
    one_by_one(context, place, &lanes, |_, key| replace(key))
}

fn replace(key: &Key) -> Result<(), String> {
    // SAFETY: the arena's own memory, which nobody reads or writes.
    let at = unsafe {
        libc::mmap(
            key.addr as *mut _,
            key.length as usize,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    if at == libc::MAP_FAILED {
        Err(std::io::Error::last_os_error().to_string())
    } else {
        Ok(())
    }
}

/// The parts of a run of invalidations whose time is told, of `PARTS`.
const TOLD: [usize; 4] = [0, 9, 19, 29];
const PARTS: usize = 30;

fn one_by_one(
    context: &Context,
    place: Place,
    lanes: &[Lane],
    tell: impl Fn(&Lane, &Key) -> Result<(), String>,
) -> Result<(), String> {
    let rounds = context.effort.pick(1, 1, 5);
    for lane in lanes {
        context.progress(&format!("{}: {}", place.chart, lane.name));
        let mut order = lane.keys.clone();
        Random::new(11).shuffle(&mut order);
        let stretch = (order.len() / PARTS).max(1);
        let mut values = vec![Vec::new(); PARTS];
        for _ in 0..rounds {
            lane.fill()?;
            for (values, keys) in values.iter_mut().zip(order.chunks(stretch)) {
                let start = Instant::now();
                keys.iter().try_for_each(|key| tell(lane, key))?;
                let spent: Duration = start.elapsed();
                values.push(spent.as_secs_f64() * 1e9 / keys.len() as f64);
            }
        }
        for part in TOLD {
            let at = ((part + 1) * stretch).to_string();
            context.row(Place { at: &at, ..place }, &lane.name, &values[part], "");
        }
    }
    Ok(())
}
