// SPDX-License-Identifier: MIT OR Apache-2.0
//! Misses that register, and what makes room for the next.

use super::invalidate::can_be_told;
use super::{Context, Place};
use crate::layout::{Key, Layout, Regions, shuffled};
use crate::measure::{Lane, thread_time};
use crate::subjects::{NO_SUCH_THING, Setup};
use std::time::{Duration, Instant};

pub fn run(context: &Context) -> Result<(), String> {
    let sizes: &[usize] = context
        .effort
        .pick(&[10], &[100, 10_000], &[100, 10_000, 100_000]);
    for count in context.sizes(sizes) {
        evicting(context, count)?;
        invalidating(context, count)?;
    }
    Ok(())
}

/// A cache that holds so many, and what was measured of it.
struct Runner {
    lane: Lane,
    /// The next key to ask for.
    next: usize,
    values: Vec<f64>,
    gets: u64,
    misses: u64,
}

/// The caches that say how often they register, filled by `fill`. Twice as
/// many regions as are held, in random order.
fn runners(
    context: &Context,
    place: Place,
    count: usize,
    limit: usize,
    wanted: impl Fn(&str) -> bool,
    fill: impl Fn(&Lane) -> Result<(), String>,
) -> Vec<Runner> {
    let regions = Regions::new(Layout::Packed, 2 * count);
    let mut runners = Vec::new();
    for subject in context.field.caches_and_variants() {
        if !wanted(&subject.name) {
            continue;
        }
        context.progress(&format!(
            "{}, {count} regions: filling {}",
            place.chart, subject.name
        ));
        let filled = Lane::open(&subject, &regions, Setup::holding(limit)).and_then(|mut lane| {
            lane.keys = shuffled(&lane.keys, 1);
            lane.cache
                .registrations()
                .ok_or("registrations are not counted")?;
            fill(&lane)?;
            Ok(lane)
        });
        match filled {
            Ok(lane) => runners.push(Runner {
                lane,
                next: 0,
                values: Vec::new(),
                gets: 0,
                misses: 0,
            }),
            Err(why) if why == NO_SUCH_THING => {}
            Err(why) => context.no_number(place, &subject.name, &why),
        }
    }
    runners
}

/// The runners in turns, then a row for each. `step` works on some of the
/// keys from `next` on, in a circle of so many keys, and says on how many.
fn in_turns(
    context: &Context,
    place: Place,
    mut runners: Vec<Runner>,
    circle: usize,
    step: impl Fn(&Lane, &[Key]) -> Result<(), String>,
) -> Result<(), String> {
    let rounds = context.effort.pick(2, 5, 9);
    let turn = Duration::from_millis(context.effort.pick(1, 10, 20));
    for round in 0..rounds {
        context.progress(&format!(
            "{}, {} regions: round {}/{rounds}",
            place.chart,
            place.at,
            round + 1
        ));
        for runner in &mut runners {
            let lane = &runner.lane;
            let before = lane.cache.registrations().unwrap_or(0);
            let (start, since) = (Instant::now(), thread_time());
            let mut done = 0;
            // Once at least: a busy machine may let the turn pass before it.
            while done == 0 || start.elapsed() < turn {
                let stretch = (circle - runner.next).min(64);
                step(lane, &lane.keys[runner.next..runner.next + stretch])?;
                runner.next = (runner.next + stretch) % circle;
                done += stretch;
            }
            let spent = (thread_time() - since).as_secs_f64() * 1e9;
            runner.values.push(spent / done as f64);
            runner.gets += done as u64;
            runner.misses += lane.cache.registrations().unwrap_or(0) - before;
        }
    }
    for runner in &runners {
        let share = runner.misses as f64 / runner.gets as f64;
        if share > 0.99 {
            context.row(place, &runner.lane.name, &runner.values, "");
        } else {
            let why = format!(
                "only {:.1} % of the gets were misses: nothing is evicted",
                share * 100.0
            );
            context.no_number(place, &runner.lane.name, &why);
        }
    }
    Ok(())
}

/// Each get evicts the region that was not used for the longest time.
fn evicting(context: &Context, count: usize) -> Result<(), String> {
    let at = count.to_string();
    let place = Place {
        chart: "register and evict",
        axis: "regions held",
        at: &at,
        unit: context.time(),
    };
    let runners = runners(
        context,
        place,
        count,
        count,
        |_| true,
        |lane| {
            // The second half: the first is then what has gone, oldest first.
            lane.cache.hit(&lane.keys[..count])?;
            lane.cache.hit(&lane.keys[count..])
        },
    );
    // In an order that always asks for one that went.
    let step = |lane: &Lane, keys: &[Key]| lane.cache.hit(keys);
    in_turns(context, place, runners, 2 * count, step)
}

/// The same for caches that evict nothing: each region is invalidated after
/// its use, while as many others stay.
fn invalidating(context: &Context, count: usize) -> Result<(), String> {
    let at = count.to_string();
    let place = Place {
        chart: "register and invalidate",
        axis: "regions held besides",
        at: &at,
        unit: context.time(),
    };
    let step = |lane: &Lane, keys: &[Key]| {
        keys.iter().try_for_each(|key| {
            lane.cache.hit(std::slice::from_ref(key))?;
            lane.cache.invalidate(key.addr, key.length as usize)
        })
    };
    let runners = runners(context, place, count, 2 * count, can_be_told, |lane| {
        // Whether it can be told at all.
        lane.cache.invalidate(lane.keys[0].addr, 1)?;
        lane.cache.hit(&lane.keys[count..])
    });
    in_turns(context, place, runners, count, step)
}
