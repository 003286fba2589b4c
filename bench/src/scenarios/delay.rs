// SPDX-License-Identifier: MIT OR Apache-2.0
//! Does a hit wait for what another thread does to other entries?

use super::{Context, Place};
use crate::layout::{Key, Layout, Regions};
use crate::measure::Lane;
use crate::subjects::{Kind, Setup};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const REGISTRATION: Duration = Duration::from_millis(1);
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
                unit: "ns",
            };
            match measured {
                Ok(mut ns) => {
                    ns.sort_unstable();
                    let last = ns.len() - 1;
                    for (at, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)]
                    {
                        place.at = at;
                        let value = ns[(last as f64 * share) as usize] as f64;
                        context.row(place, &subject.name, &[value], "");
                    }
                }
                Err(why) if subject.kind == Kind::Own => return Err(why),
                Err(why) => {
                    place.at = "p50";
                    context.no_number(place, &subject.name, &why);
                }
            }
        }
    }
    Ok(())
}

/// The times of hits on `hot`, one by one, while `other` runs in another thread.
fn hits(
    lane: &Lane,
    hot: &[Key],
    time: Duration,
    other: impl FnOnce(&AtomicBool) -> Result<(), String> + Send,
) -> Result<Vec<u64>, String> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| other(&stop));
        let mut all = Vec::with_capacity(1 << 22);
        let mut ns = [0; HOT];
        let start = Instant::now();
        let mut failure = Ok(());
        while start.elapsed() < time && all.len() + HOT <= all.capacity() {
            failure = lane.cache.timed(hot, &mut ns);
            if failure.is_err() {
                break;
            }
            all.extend_from_slice(&ns);
        }
        // Relaxed: says when to stop, orders nothing.
        stop.store(true, Ordering::Relaxed);
        other.join().map_err(|_| "the other thread panicked")??;
        failure.map(|()| all)
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
