// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hits by several threads at once.

use super::{Context, Place};
use crate::layout::{Key, Layout, Regions, shuffled};
use crate::measure::{Lane, throughput};
use crate::subjects::{Kind, Setup, floors};
use std::time::Duration;

pub fn run(context: &Context) -> Result<(), String> {
    let count = context.effort.pick(64, 10_000, 10_000);
    let regions = Regions::new(Layout::Packed, count);
    let mut lanes = Vec::new();
    for subject in &context.field.subjects {
        let floor = subject.kind == Kind::Floor && subject.name != floors::SHARED;
        let useless =
            floor && subject.name != floors::ATOMICS && subject.name != floors::HASH_PLAIN;
        if subject.kind == Kind::Check || useless {
            continue;
        }
        let filled = Lane::open(subject, &regions, Setup::holding(count + 8))
            .and_then(|lane| lane.fill().map(|_| lane));
        match filled {
            Ok(lane) => lanes.push(lane),
            Err(why) => eprintln!("  threads: without {}: {why}", subject.name),
        }
    }
    let time = Duration::from_millis(context.effort.pick(2, 25, 50));
    let rounds = context.effort.pick(2, 3, 5);
    for threads in [1, 2, 4, 8] {
        for (chart, one) in [("own entries", false), ("one entry", true)] {
            let mut values = vec![Vec::new(); lanes.len()];
            let mut failures = vec![None; lanes.len()];
            for round in 0..rounds {
                context.progress(&format!(
                    "{threads} threads, {chart}: round {}/{rounds}",
                    round + 1
                ));
                for (place, lane) in lanes.iter().enumerate() {
                    match throughput(lane.cache.as_ref(), &shares(&lane.keys, threads, one), time) {
                        Ok(rate) => values[place].push(rate / 1e6),
                        Err(why) => failures[place] = Some(why),
                    }
                }
            }
            let place = Place {
                chart,
                axis: "threads",
                at: &threads.to_string(),
                unit: "million/s",
            };
            for ((lane, values), failure) in lanes.iter().zip(&values).zip(&failures) {
                // Of a floor only the chart that it is the floor of.
                let elsewhere = if one {
                    floors::HASH_PLAIN
                } else {
                    floors::SHARED
                };
                match failure {
                    _ if lane.name == elsewhere => {}
                    Some(why) => context.no_number(place, &lane.name, why),
                    None => context.row(place, &lane.name, values, ""),
                }
            }
        }
    }
    Ok(())
}

/// What each thread looks up: every so many-th region, or all the same one.
fn shares(keys: &[Key], threads: usize, one: bool) -> Vec<Vec<Key>> {
    (0..threads)
        .map(|thread| {
            if one {
                vec![keys[keys.len() / 2]; 512]
            } else {
                let own: Vec<Key> = keys.iter().skip(thread).step_by(threads).copied().collect();
                shuffled(&own, 512)
            }
        })
        .collect()
}
