// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hits by several threads at once.

use super::{Context, Place};
use crate::layout::{Key, Layout, Regions, shuffled};
use crate::measure::{Lane, together};
use crate::subjects::{Kind, Setup, floors};
use std::time::Duration;

const MOST_THREADS: usize = 8;

/// A cache and what was measured of it.
struct Runner {
    lane: Lane,
    /// Millions per second.
    rates: Vec<f64>,
    /// Nanoseconds of processor time.
    each: Vec<f64>,
    failure: Option<String>,
}

pub fn run(context: &Context) -> Result<(), String> {
    let count = context.at_most(context.effort.pick(64, 800, 800)).max(64);
    let regions = Regions::new(Layout::Packed, count);
    let mut runners = Vec::new();
    for subject in &context.field.subjects {
        let floor = subject.kind == Kind::Floor && subject.name != floors::SHARED;
        let useless =
            floor && subject.name != floors::ATOMICS && subject.name != floors::HASH_PLAIN;
        if matches!(subject.kind, Kind::Check | Kind::Variant) || useless {
            continue;
        }
        let filled = Lane::open(subject, &regions, Setup::holding(count + 8))
            .and_then(|lane| lane.fill().map(|_| lane));
        match filled {
            Ok(lane) => runners.push(Runner {
                lane,
                rates: Vec::new(),
                each: Vec::new(),
                failure: None,
            }),
            Err(why) => eprintln!("  threads: without {}: {why}", subject.name),
        }
    }
    let time = Duration::from_millis(context.effort.pick(2, 25, 50));
    let rounds = context.effort.pick(2, 3, 5);
    for threads in [1, 2, 4, MOST_THREADS] {
        for (chart, one) in [("own entries", false), ("one entry", true)] {
            for Runner {
                rates,
                each,
                failure,
                ..
            } in &mut runners
            {
                rates.clear();
                each.clear();
                *failure = None;
            }
            for round in 1..=rounds {
                context.progress(&format!(
                    "{threads} threads, {chart}: round {round}/{rounds}"
                ));
                for runner in &mut runners {
                    let keys = if one {
                        one_for_all(&runner.lane.keys, threads)
                    } else {
                        // As many for each, however many threads there are.
                        shares(&runner.lane.keys, threads, MOST_THREADS)
                    };
                    match together(runner.lane.cache.as_ref(), &keys, time, 1) {
                        Ok(work) => {
                            runner.rates.extend(work.iter().map(|w| w.per_second / 1e6));
                            runner.each.extend(work.iter().map(|w| w.processor_each));
                        }
                        Err(why) => runner.failure = Some(why),
                    }
                }
            }
            rows(context, chart, threads, &runners);
        }
    }
    Ok(())
}

fn rows(context: &Context, chart: &str, threads: usize, runners: &[Runner]) {
    let by_time = format!("{chart}: processor time per get and put");
    let rates = Place {
        chart,
        axis: "threads",
        at: &threads.to_string(),
        unit: "million/s",
    };
    let each = Place {
        chart: &by_time,
        unit: context.time(),
        ..rates
    };
    // Of a floor only the chart that it is the floor of.
    let elsewhere = match chart {
        "one entry" => floors::HASH_PLAIN,
        _ => floors::SHARED,
    };
    for runner in runners {
        let name = &runner.lane.name;
        match &runner.failure {
            _ if name == elsewhere => {}
            Some(why) => context.no_number(rates, name, why),
            None => {
                context.row(rates, name, &runner.rates, "");
                context.row(each, name, &runner.each, "");
            }
        }
    }
}

/// What each of so many threads looks up: every `step`-th region, or one that
/// others look up as well where there are fewer regions than threads.
pub fn shares(keys: &[Key], threads: usize, step: usize) -> Vec<Vec<Key>> {
    (0..threads)
        .map(|thread| {
            let first = thread % keys.len();
            let own: Vec<Key> = keys.iter().skip(first).step_by(step).copied().collect();
            shuffled(&own, 512)
        })
        .collect()
}

/// The same region for all of them.
fn one_for_all(keys: &[Key], threads: usize) -> Vec<Vec<Key>> {
    vec![vec![keys[keys.len() / 2]; 512]; threads]
}
