// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a region costs in memory, and whether cycles of register and evict
//! cost any. Each subject in a process of its own.

use super::{Context, Place};
use crate::layout::{Layout, Regions};
use crate::measure::Lane;
use crate::options::Options;
use crate::subjects::{Kind, Setup};
use std::process::Stdio;

/// Entries held while others come and go.
const HELD: usize = 1000;

pub fn run(context: &Context) -> Result<(), String> {
    let count = context.at_most(context.effort.pick(1000, 100_000, 100_000));
    let cycles = context.options.cycles;
    for subject in context.field.caches() {
        if subject.name.ends_with(": none") {
            continue;
        }
        let per_region = |at| Place {
            chart: "memory per region",
            axis: "",
            at,
            unit: "bytes",
        };
        context.progress(&format!("{}: {count} regions", subject.name));
        match ask(context, &["memory", &subject.name, &count.to_string()]) {
            Ok(numbers) => {
                for (at, value) in ["resident", "mapped"].into_iter().zip(numbers) {
                    context.row(per_region(at), &subject.name, &[value], "");
                }
            }
            Err(why) => context.no_number(per_region("resident"), &subject.name, &why),
        }
        // The rest do not say whether they registered.
        if subject.kind != Kind::Own && subject.name != crate::subjects::textbook::NAME {
            continue;
        }
        // With a monitor a cycle is many times as long.
        let cycles = if subject.name.contains("userfaultfd") {
            cycles / 10
        } else {
            cycles
        };
        context.progress(&format!("{}: {cycles} cycles", subject.name));
        let place = Place {
            chart: "resident size over register and evict",
            axis: "percent of the cycles",
            at: "",
            unit: "KiB",
        };
        match ask(context, &["churn", &subject.name, &cycles.to_string()]) {
            Ok(numbers) => {
                for (tenth, value) in numbers.iter().enumerate() {
                    let at = ((tenth + 1) * 10).to_string();
                    let note = format!("{cycles} cycles");
                    let note = if tenth == 9 { &note } else { "" };
                    context.row(Place { at: &at, ..place }, &subject.name, &[*value], note);
                }
            }
            Err(why) => context.no_number(Place { at: "100", ..place }, &subject.name, &why),
        }
    }
    Ok(())
}

/// The numbers that a part prints, in a process of its own.
fn ask(context: &Context, part: &[&str]) -> Result<Vec<f64>, String> {
    let output = context
        .options
        .command_for(part)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(format!("its process ended with {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace()
        .map(|word| word.parse().map_err(|_| format!("'{word}' is no number")))
        .collect()
}

/// Resident and mapped size of this process, in bytes.
fn sizes() -> Result<(f64, f64), String> {
    let text = std::fs::read_to_string("/proc/self/statm").map_err(|e| e.to_string())?;
    let pages: Vec<f64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    match pages[..] {
        [mapped, resident, ..] => Ok((resident * 4096.0, mapped * 4096.0)),
        _ => Err("/proc/self/statm says nothing".into()),
    }
}

/// Bytes per region that filling adds.
pub fn part(options: &Options, subject: &str, count: usize) -> Result<(), String> {
    let context = Context::new(options, "memory");
    let regions = Regions::new(Layout::Packed, count);
    let subject = context.subject(subject)?;
    let arena = regions.arena()?;
    let keys = regions.keys(&arena);
    let before = sizes()?;
    let cache = subject.open(Setup::holding(count + 8))?;
    cache.hit(&keys)?;
    let after = sizes()?;
    let each = |before: f64, after: f64| (after - before) / count as f64;
    println!("{} {}", each(before.0, after.0), each(before.1, after.1));
    Ok(())
}

/// The resident size in KiB after each tenth of so many cycles.
pub fn churn_part(options: &Options, subject: &str, cycles: usize) -> Result<(), String> {
    let context = Context::new(options, "memory");
    let regions = Regions::new(Layout::Packed, 2 * HELD);
    let subject = context.subject(subject)?;
    let lane = Lane::open(&subject, &regions, Setup::holding(HELD))?;
    for tenth in 0..10 {
        let mut left = cycles / 10;
        while left > 0 {
            let now = left.min(lane.keys.len());
            lane.cache.hit(&lane.keys[..now])?;
            left -= now;
        }
        if tenth % 3 == 0 {
            context.progress(&format!(
                "{}: {} of {cycles} cycles",
                subject.name,
                cycles / 10 * (tenth + 1)
            ));
        }
        println!("{}", sizes()?.0 / 1024.0);
    }
    Ok(())
}
