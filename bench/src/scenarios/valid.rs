// SPDX-License-Identifier: MIT OR Apache-2.0
//! The check of a region by itself.

use super::{Context, Place};
use crate::layout::{Layout, Regions};
use crate::measure::{Lane, thread_time};
use crate::subjects::{Kind, NO_SUCH_THING, Setup};
use std::time::{Duration, Instant};

pub fn run(context: &Context) -> Result<(), String> {
    let sizes = context.effort.pick([1, 10], [1, 10_000], [1, 10_000]);
    let rounds = context.effort.pick(2, 5, 15);
    for count in context.sizes(&sizes) {
        let at = count.to_string();
        let place = Place {
            chart: "check of a region",
            axis: "regions",
            at: &at,
            unit: context.time(),
        };
        let regions = Regions::new(Layout::Packed, count);
        let mut lanes = Vec::new();
        for subject in &context.field.subjects {
            // Without a backend nothing can be watched.
            if !matches!(subject.kind, Kind::Own | Kind::Check) || subject.name.ends_with(": none")
            {
                continue;
            }
            let watched = Lane::open(subject, &regions, Setup::holding(8)).and_then(|lane| {
                lane.cache.watch(&lane.keys)?;
                Ok(lane)
            });
            match watched {
                Ok(lane) => lanes.push((lane, Vec::new())),
                Err(why) if why == NO_SUCH_THING => {}
                Err(why) => context.no_number(place, &subject.name, &why),
            }
        }
        for round in 0..rounds {
            context.progress(&format!("{count} regions: round {}/{rounds}", round + 1));
            for (lane, values) in &mut lanes {
                let times = turn(
                    lane,
                    count,
                    Duration::from_millis(context.effort.pick(1, 3, 5)),
                );
                let start = thread_time();
                let yes = lane.cache.valid(count, times);
                values.push((thread_time() - start).as_secs_f64() * 1e9 / times as f64);
                if yes != times {
                    return Err(format!("{}: {yes} of {times} regions are valid", lane.name));
                }
            }
        }
        for (lane, values) in &lanes {
            context.row(place, &lane.name, values, "");
        }
    }
    Ok(())
}

/// How many checks take about so long.
fn turn(lane: &Lane, count: usize, time: Duration) -> usize {
    let start = Instant::now();
    lane.cache.valid(count, 256);
    let each = start.elapsed().as_secs_f64().max(1e-8) / 256.0;
    ((time.as_secs_f64() / each) as usize).clamp(256, 50_000_000)
}
