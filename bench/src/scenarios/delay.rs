// SPDX-License-Identifier: MIT OR Apache-2.0
//! Does a hit wait for what another thread does to other entries?

use super::{Context, Place};
use crate::layout::{Key, Layout, Regions};
use crate::measure::Lane;
use crate::subjects::{Kind, NO_SUCH_THING, Setup};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const REGISTRATION: Duration = Duration::from_millis(1);
/// A hit is due so often.
const INTERVAL: Duration = Duration::from_micros(20);
/// Regions that are looked up all the time.
const HOT: usize = 64;

pub fn run(context: &Context) -> Result<(), String> {
    // Half of the rest fits: the other thread evicts with each registration.
    let count = HOT + 1000;
    let regions = Regions::new(Layout::Packed, count);
    let time = Duration::from_millis(context.effort.pick(10, 200, 500));
    for subject in context.field.caches() {
        // One that keeps nothing has no hits to delay.
        if subject.name.ends_with(": none") {
            continue;
        }
        for chart in [
            "alone",
            "another thread registers",
            "another thread invalidates",
        ] {
            context.progress(&format!("{}, {chart}", subject.name));
            let setup = Setup::holding(HOT + 500);
            let measured = Lane::open(&subject, &regions, setup).and_then(|lane| {
                let (hot, cold) = lane.keys.split_at(HOT);
                lane.cache.hit(hot)?;
                hits(&lane, hot, time, |stop| disturb(&lane, chart, cold, stop))
            });
            let mut place = Place {
                chart,
                axis: "share of hits",
                at: "",
                unit: context.time(),
            };
            match measured {
                Ok(mut ns) => {
                    ns.sort_unstable();
                    let last = ns.len() - 1;
                    let mean = ns.iter().sum::<u64>() as f64 / ns.len() as f64;
                    place.at = "mean";
                    context.row(place, &subject.name, &[mean], "");
                    for (at, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
                        place.at = at;
                        let value = ns[(last as f64 * share) as usize] as f64;
                        context.row(place, &subject.name, &[value], "");
                    }
                }
                Err(why) if subject.kind == Kind::Own && why != NO_SUCH_THING => return Err(why),
                Err(why) => {
                    place.at = "mean";
                    context.no_number(place, &subject.name, &why);
                }
            }
        }
    }
    Ok(())
}

/// How long hits on `hot` take, one each `INTERVAL`, while `other` runs in
/// another thread. At a pace, because thousands of fast hits between two that
/// wait would otherwise hide those.
fn hits(
    lane: &Lane,
    hot: &[Key],
    time: Duration,
    other: impl FnOnce(&AtomicBool) -> Result<(), String> + Send,
) -> Result<Vec<u64>, String> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| other(&stop));
        let mut took = Vec::new();
        let mut failure = Ok(());
        let start = Instant::now();
        let mut due = Duration::ZERO;
        while due < time && failure.is_ok() {
            let mut from = start.elapsed();
            while from < due {
                std::hint::spin_loop();
                from = start.elapsed();
            }
            let key = &hot[took.len() % HOT];
            failure = lane.cache.hit(std::slice::from_ref(key));
            let to = start.elapsed();
            took.push((to - from).as_nanos() as u64);
            // What became due meanwhile is not made up for.
            due = to.max(due + INTERVAL);
        }
        // Relaxed: says when to stop, orders nothing.
        stop.store(true, Ordering::Relaxed);
        other.join().map_err(|_| "the other thread panicked")??;
        failure.map(|()| took)
    })
}

fn disturb(lane: &Lane, chart: &str, cold: &[Key], stop: &AtomicBool) -> Result<(), String> {
    match chart {
        "alone" => return Ok(()),
        "another thread registers" => lane.cache.delay(REGISTRATION)?,
        _ => {}
    }
    for key in cold.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        lane.cache.hit(std::slice::from_ref(key))?;
        if chart == "another thread invalidates" {
            lane.cache.invalidate(key.addr, key.length as usize)?;
        }
    }
    lane.cache.delay(Duration::ZERO)
}
