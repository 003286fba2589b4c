// SPDX-License-Identifier: MIT OR Apache-2.0
//! Misses that register and evict.

use super::{Context, Place};
use crate::layout::{Layout, Regions, shuffled};
use crate::measure::{Lane, thread_time};
use crate::subjects::Setup;
use std::time::{Duration, Instant};

pub fn run(context: &Context) -> Result<(), String> {
    let sizes: &[usize] = context
        .effort
        .pick(&[10], &[100, 10_000], &[100, 10_000, 100_000]);
    let rounds = context.effort.pick(2, 5, 9);
    let turn = Duration::from_millis(context.effort.pick(1, 10, 20));
    for count in context.sizes(sizes) {
        let at = count.to_string();
        let place = Place {
            chart: "register and evict",
            axis: "regions held",
            at: &at,
            unit: context.time(),
        };
        // Twice as many as fit, in an order that always asks for one that went.
        let regions = Regions::new(Layout::Packed, 2 * count);
        let mut lanes = Vec::new();
        for subject in context.field.caches() {
            context.progress(&format!("{count} regions: filling {}", subject.name));
            let filled = Lane::open(&subject, &regions, Setup::holding(count)).and_then(|lane| {
                let mut lane = lane;
                lane.keys = shuffled(&lane.keys, 1);
                // The registrations of a library that does not say are of no use here.
                lane.cache
                    .registrations()
                    .ok_or("registrations are not counted")?;
                // The second half: the first is then what has gone, oldest first.
                lane.cache.hit(&lane.keys[..count])?;
                lane.cache.hit(&lane.keys[count..])?;
                Ok(lane)
            });
            match filled {
                Ok(lane) => lanes.push((lane, 0, Vec::new(), 0, 0)),
                Err(why) => context.no_number(place, &subject.name, &why),
            }
        }
        for round in 0..rounds {
            context.progress(&format!("{count} regions: round {}/{rounds}", round + 1));
            for (lane, next, values, gets, misses) in &mut lanes {
                let before = lane.cache.registrations().unwrap_or(0);
                let (start, since) = (Instant::now(), thread_time());
                let mut done = 0;
                while start.elapsed() < turn {
                    let stretch = (2 * count - *next).min(64);
                    lane.cache.hit(&lane.keys[*next..*next + stretch])?;
                    *next = (*next + stretch) % (2 * count);
                    done += stretch;
                }
                values.push((thread_time() - since).as_secs_f64() * 1e9 / done as f64);
                *gets += done as u64;
                *misses += lane.cache.registrations().unwrap_or(0) - before;
            }
        }
        for (lane, _, values, gets, misses) in &lanes {
            let share = *misses as f64 / *gets as f64;
            if share > 0.99 {
                context.row(place, &lane.name, values, "");
            } else {
                let why = format!(
                    "only {:.1} % of the gets were misses: nothing is evicted",
                    share * 100.0
                );
                context.no_number(place, &lane.name, &why);
            }
        }
    }
    Ok(())
}
