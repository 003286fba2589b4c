// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hits by regions and threads.

use super::hit::patience;
use super::threads::shares;
use super::{Context, Place};
use crate::layout::{Layout, Regions};
use crate::measure::{Lane, together};
use crate::subjects::{Kind, PEER, Setup, Subject, textbook};
use std::time::Duration;

pub const NAME: &str = "growth";

/// Those whose growth is shown: what costs the same as one of them is left out.
fn is_shown(subject: &Subject) -> bool {
    let own = subject.kind == Kind::Own && !subject.name.contains("verbs");
    let keeps_nothing = subject.name.ends_with(": none");
    own && !keeps_nothing || subject.name == textbook::NAME || subject.name == PEER
}

pub fn run(context: &Context) -> Result<(), String> {
    let sizes: &[usize] = context.effort.pick(
        &[1, 10],
        &[1, 100, 10_000],
        &[1, 10, 100, 1000, 10_000, 100_000, 1_000_000],
    );
    let sizes = context.sizes(sizes);
    let shown: Vec<Subject> = context
        .field
        .caches()
        .into_iter()
        .filter(is_shown)
        .collect();
    for subject in shown {
        // How long a region took to register, at the size before.
        let mut each = Duration::ZERO;
        for &count in &sizes {
            let at = count.to_string();
            let place = Place {
                chart: &subject.name,
                axis: "regions",
                at: &at,
                unit: context.time(),
            };
            let expected = each.saturating_mul(count.try_into().unwrap_or(u32::MAX));
            if expected > patience(context) {
                let why = format!("not filled: would take {:.0} s", expected.as_secs_f64());
                context.no_number(place, "1 thread", &why);
                continue;
            }
            context.progress(&format!("{}, {count} regions", subject.name));
            let regions = Regions::new(Layout::Packed, count);
            let filled = Lane::open(&subject, &regions, Setup::holding(count + 8))
                .and_then(|lane| lane.fill().map(|took| (lane, took)));
            match filled {
                Ok((lane, took)) => {
                    each = took / count as u32;
                    by_threads(context, place, &lane)?;
                }
                Err(why) => context.no_number(place, "1 thread", &format!("not filled: {why}")),
            }
        }
    }
    Ok(())
}

fn by_threads(context: &Context, place: Place, lane: &Lane) -> Result<(), String> {
    let time = Duration::from_millis(context.effort.pick(2, 10, 25));
    let rounds = context.effort.pick(1, 3, 3);
    for threads in [1, 2, 4, 8] {
        let name = match threads {
            1 => "1 thread".to_string(),
            _ => format!("{threads} threads"),
        };
        let keys = shares(&lane.keys, threads, threads);
        let work = together(lane.cache.as_ref(), &keys, time, rounds)?;
        let values: Vec<f64> = work.iter().map(|work| work.processor_each).collect();
        context.row(place, &name, &values, "");
    }
    Ok(())
}
