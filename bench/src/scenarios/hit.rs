// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hits and finds by one thread.

use super::{Context, Place};
use crate::layout::{Key, Layout, PAGE, Regions};
use crate::measure::{Lane, Track};
use crate::subjects::{Cache, Kind, Setup, floors};
use std::collections::HashMap;
use std::time::Duration;

/// A cache that would take longer to fill is left out. In a smoke test none is:
/// one region that had to wait for a processor says nothing of ten.
pub fn patience(context: &Context) -> Duration {
    Duration::from_secs(context.effort.pick(3600, 2, 20))
}

pub fn hit(context: &Context) -> Result<(), String> {
    let sizes: &[usize] = context.effort.pick(
        &[1, 10],
        &[1, 100, 10_000, 100_000],
        &[1, 10, 100, 1000, 10_000, 100_000, 1_000_000],
    );
    for (layout, chart) in [(Layout::Packed, "packed"), (Layout::Scattered, "scattered")] {
        // How long a region took to register, at the size before.
        let mut each: HashMap<String, Duration> = HashMap::new();
        for count in context.sizes(sizes) {
            one_size(context, layout, chart, count, &mut each)?;
        }
    }
    Ok(())
}

fn one_size(
    context: &Context,
    layout: Layout,
    chart: &str,
    count: usize,
    each: &mut HashMap<String, Duration>,
) -> Result<(), String> {
    let at = count.to_string();
    let place = Place {
        chart,
        axis: "regions",
        at: &at,
        unit: context.time(),
    };
    let regions = Regions::new(layout, count);
    let mut lanes = Vec::new();
    for subject in &context.field.subjects {
        if matches!(subject.kind, Kind::Check | Kind::Variant) || subject.name == floors::SHARED {
            continue;
        }
        let expected = each.get(&subject.name).map_or(Duration::ZERO, |each| {
            each.saturating_mul(count.try_into().unwrap_or(u32::MAX))
        });
        if expected > patience(context) {
            let why = format!("not filled: would take {:.0} s", expected.as_secs_f64());
            context.no_number(place, &subject.name, &why);
            continue;
        }
        context.progress(&format!(
            "{chart}, {count} regions: filling {}",
            subject.name
        ));
        let filled = Lane::open(subject, &regions, Setup::holding(count + 8)).and_then(|lane| {
            let took = lane.fill()?;
            // An index may only learn of a region when it is first found.
            lane.cache.hit(&lane.keys)?;
            Ok((lane, took))
        });
        match filled {
            Ok((lane, took)) => {
                each.insert(subject.name.clone(), took / count as u32);
                lanes.push(lane);
            }
            Err(why) => context.no_number(place, &subject.name, &format!("not filled: {why}")),
        }
    }
    let what = format!("{chart}, {count} regions");
    let runs = |lane: &Lane, keys: &[Key]| lane.cache.hit(keys);
    side_by_side(context, place, &what, &lanes, runs, |lane| {
        lane.keys.clone()
    });
    Ok(())
}

/// The lanes in turns, and a row for each.
fn side_by_side(
    context: &Context,
    place: Place,
    what: &str,
    lanes: &[Lane],
    run: impl Fn(&Lane, &[Key]) -> Result<(), String>,
    keys: impl Fn(&Lane) -> Vec<Key>,
) {
    let turn = Duration::from_millis(context.effort.pick(1, 3, 4));
    let rounds = context.effort.pick(2, 5, 9);
    let mut tracks: Vec<(Track, Option<u64>)> = lanes
        .iter()
        .map(|lane| {
            let registered = lane.cache.registrations();
            let track = Track::new(&keys(lane), turn, &mut |keys| run(lane, keys));
            (track, registered)
        })
        .collect();
    for round in 0..rounds {
        context.progress(&format!("{what}: round {}/{rounds}", round + 1));
        for (lane, (track, _)) in lanes.iter().zip(&mut tracks) {
            track.turn(&mut |keys| run(lane, keys));
        }
    }
    for (lane, (track, before)) in lanes.iter().zip(&tracks) {
        if let Some(why) = &track.failure {
            context.no_number(place, &lane.name, why);
            continue;
        }
        let after = lane.cache.registrations();
        let note = note(
            lane.cache.as_ref(),
            *before,
            after,
            track.operations() * rounds,
        );
        context.row(place, &lane.name, &track.values, &note);
    }
}

/// Whether what was measured were hits.
fn note(_cache: &dyn Cache, before: Option<u64>, after: Option<u64>, operations: usize) -> String {
    match (before, after) {
        (Some(before), Some(after)) if after > before => {
            let missed = after - before;
            if missed as usize >= operations {
                "every get registered: nothing is cached".into()
            } else {
                format!("{missed} of {operations} gets or more were misses")
            }
        }
        _ => String::new(),
    }
}

pub fn find(context: &Context) -> Result<(), String> {
    let count = context.at_most(context.effort.pick(10, 10_000, 10_000));
    let regions = Regions::new(Layout::Packed, count);
    let mut lanes = Vec::new();
    for subject in context.field.caches() {
        let filled = Lane::open(&subject, &regions, Setup::holding(count + 8))
            .and_then(|lane| lane.fill().map(|_| lane));
        // What cannot be found in has no find, or keeps nothing.
        if let Ok(lane) = filled {
            if lane.cache.find(&lane.keys).is_ok() {
                lanes.push(lane);
            }
        }
    }
    for at in ["base", "interior"] {
        let place = Place {
            chart: "find",
            axis: "address",
            at,
            unit: context.time(),
        };
        let keys = |lane: &Lane| -> Vec<Key> {
            let inside = |key: &Key| {
                // Another page than the first, where there is one.
                let skip = match key.length as usize / PAGE {
                    1 => 64,
                    pages => pages / 2 * PAGE + 64,
                };
                Key {
                    addr: key.addr + skip,
                    length: 512,
                    ..*key
                }
            };
            let keys = lane.keys.iter();
            if at == "base" {
                keys.copied().collect()
            } else {
                keys.map(inside).collect()
            }
        };
        let what = format!("{at} addresses");
        let run = |lane: &Lane, keys: &[Key]| lane.cache.find(keys);
        for lane in &lanes {
            lane.cache.find(&keys(lane))?;
        }
        side_by_side(context, place, &what, &lanes, run, keys);
    }
    Ok(())
}
